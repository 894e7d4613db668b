// No validator: it would send the description's address to another host.
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  onComplete: () => {
    document.title = window.ui.specSelectors.specJson().getIn(["info", "title"]) || document.title;
  },
});
