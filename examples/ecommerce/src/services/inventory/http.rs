//! The HTTP routes of the inventory service.

use axum::{
    Extension,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sagas::{
    http::{
        Json, List, Listed, Page, Path, Problem, Query,
        openapi::{Conflict, NotFound},
        operators_only,
    },
    prelude::*,
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Row, any::AnyRow};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    audit,
    domain::{MOST_UNITS, ReservationStatus},
};
use crate::{
    check::Findings,
    contracts::{Amount, Money, OrderId, ProductId, ReservationId, price, short_text, text},
    services::{amount, api, parsed},
};

/// The largest number of units that one request can add.
const MAX_RESTOCK: i64 = 1_000_000_000;

pub(super) fn routes(service: ServiceHandle) -> OpenApiRouter {
    api("Inventory", "Owns the products and their units, and holds units for orders.")
        .routes(routes!(list, add))
        .routes(routes!(show))
        .routes(routes!(restock))
        .routes(routes!(reservations))
        .merge(operators_only(&service, OpenApiRouter::default().routes(routes!(check))))
        .layer(Extension(service))
}

/// A product and its units.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
#[serde(rename_all = "camelCase")]
struct ProductView {
    product_id: ProductId,
    name: String,
    price: Amount,
    /// The number of available units.
    #[schema(minimum = 0)]
    available: i64,
    /// The number of units held for orders.
    #[schema(minimum = 0)]
    reserved: i64,
    /// The number of sold units.
    #[schema(minimum = 0)]
    sold: i64,
}

impl FromRow<'_, AnyRow> for ProductView {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            product_id: parsed(row, "product_id")?,
            name: row.try_get("name")?,
            price: Amount(amount(row, "price")?),
            available: row.try_get("available")?,
            reserved: row.try_get("reserved")?,
            sold: row.try_get("sold")?,
        })
    }
}

/// Lists products, newest first.
#[utoipa::path(
    get, path = "/products", tag = "products", operation_id = "listProducts",
    params(Page),
    responses((status = 200, description = "One page of them.", body = [ProductView])),
)]
async fn list(Extension(service): Extension<ServiceHandle>, page: Page) -> Result<Listed<ProductView>, Problem> {
    List::of("products").ordered("created_at DESC, product_id DESC").page(service.database(), &page).await
}

/// Shows a product.
#[utoipa::path(
    get, path = "/products/{productId}", tag = "products", operation_id = "showProduct",
    params(("productId" = ProductId, Path, description = "The product.")),
    responses((status = 200, description = "The product.", body = ProductView), NotFound),
)]
async fn show(
    Extension(service): Extension<ServiceHandle>,
    Path(product_id): Path<String>,
) -> Result<Json<ProductView>, Problem> {
    find(&service, &product_id).await.map(Json)
}

/// A new product.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"productId": "cocoa", "name": "Cocoa", "price": 7.50, "quantity": 100}))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewProduct {
    product_id: ProductId,
    #[schema(schema_with = text)]
    name: String,
    #[schema(schema_with = price)]
    price: Amount,
    /// The initial number of units.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    quantity: i64,
}

/// Adds a product.
#[utoipa::path(
    post, path = "/products", tag = "products", operation_id = "addProduct",
    request_body = NewProduct,
    responses(
        (
            status = 201, description = "It is there.", body = ProductView,
            headers(("Location" = String, description = "The path of the product.")),
        ),
        Conflict,
    ),
)]
async fn add(Extension(service): Extension<ServiceHandle>, Json(product): Json<NewProduct>) -> Result<Response, Problem> {
    short_text(&product.name).map_err(|rule| Problem::invalid_field("name", rule))?;
    if product.price.0 == Money::ZERO {
        return Err(Problem::invalid_field("price", "must be greater than 0"));
    }
    if !(0..=MOST_UNITS).contains(&product.quantity) {
        return Err(Problem::invalid_field("quantity", format!("must be from 0 to {MOST_UNITS}")));
    }
    let mut work = service.begin().await?;
    let added = sqlx::query(
        "INSERT INTO products (product_id, name, price, available, initial, created_at) VALUES ($1, $2, $3, $4, $4, $5)
         ON CONFLICT (product_id) DO NOTHING",
    )
    .bind(product.product_id.as_str())
    .bind(&product.name)
    .bind(product.price.0.minor_units())
    .bind(product.quantity)
    .bind(work.now().as_millis())
    .execute(&mut *work)
    .await?;
    if added.rows_affected() == 0 {
        return Err(Problem::conflict(format!("there is a product {} already", product.product_id)));
    }
    work.commit().await?;
    let NewProduct { product_id, name, price, quantity } = product;
    let segment = utf8_percent_encode(product_id.as_str(), NON_ALPHANUMERIC);
    let location = [(header::LOCATION, format!("/api/v1/products/{segment}"))];
    let product = ProductView { product_id, name, price, available: quantity, reserved: 0, sold: 0 };
    Ok((StatusCode::CREATED, location, Json(product)).into_response())
}

/// New units of a product.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Restock {
    /// The number of units.
    #[schema(minimum = 1, maximum = 1_000_000_000, example = 100)]
    quantity: i64,
}

/// Adds units to a product. A product can have at most 10^15 units in total.
#[utoipa::path(
    post, path = "/products/{productId}/restock", tag = "products", operation_id = "restockProduct",
    params(("productId" = ProductId, Path, description = "The product.")),
    request_body = Restock,
    responses((status = 200, description = "The product after the call.", body = ProductView), NotFound),
)]
async fn restock(
    Extension(service): Extension<ServiceHandle>,
    Path(product_id): Path<String>,
    Json(restock): Json<Restock>,
) -> Result<Json<ProductView>, Problem> {
    if !(1..=MAX_RESTOCK).contains(&restock.quantity) {
        return Err(Problem::invalid_field("quantity", format!("must be from 1 to {MAX_RESTOCK}")));
    }
    let mut work = service.begin().await?;
    let row = sqlx::query(
        "UPDATE products SET available = available + $1, restocked = restocked + $1
         WHERE product_id = $2 AND initial + restocked <= $3 RETURNING *",
    )
    .bind(restock.quantity)
    .bind(named(&product_id)?.to_string())
    .bind(MOST_UNITS - restock.quantity)
    .fetch_optional(&mut *work)
    .await?;
    let Some(row) = row else {
        find(&service, &product_id).await?;
        return Err(Problem::invalid_field("quantity", format!("there would be more than {MOST_UNITS} units")));
    };
    let product = ProductView::from_row(&row)?;
    work.commit().await?;
    Ok(Json(product))
}

/// Parses the id in a path. A text that cannot be a product id gets the answer for an unknown product.
fn named(product_id: &str) -> Result<ProductId, Problem> {
    product_id.parse().map_err(|_| no_such_product())
}

fn no_such_product() -> Problem {
    Problem::not_found("there is no such product")
}

async fn find(service: &ServiceHandle, product_id: &str) -> Result<ProductView, Problem> {
    let row = sqlx::query("SELECT * FROM products WHERE product_id = $1").bind(named(product_id)?.to_string());
    let row = row.fetch_optional(service.database()).await?.ok_or_else(no_such_product)?;
    Ok(ProductView::from_row(&row)?)
}

/// Units of one product that are held for an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
#[serde(rename_all = "camelCase")]
struct ReservationView {
    reservation_id: ReservationId,
    order_id: OrderId,
    product_id: ProductId,
    /// The number of units.
    #[schema(minimum = 1)]
    quantity: i64,
    status: ReservationStatus,
}

impl FromRow<'_, AnyRow> for ReservationView {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            reservation_id: parsed(row, "reservation_id")?,
            order_id: parsed(row, "order_id")?,
            product_id: parsed(row, "product_id")?,
            quantity: row.try_get("quantity")?,
            status: parsed(row, "status")?,
        })
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Filter {
    /// Only reservations for this order.
    #[param(inline)]
    order_id: Option<OrderId>,
}

/// Lists reservations, newest first.
#[utoipa::path(
    get, path = "/reservations", tag = "products", operation_id = "listReservations",
    params(Filter, Page),
    responses((status = 200, description = "One page of them.", body = [ReservationView])),
)]
async fn reservations(
    Extension(service): Extension<ServiceHandle>,
    Query(filter): Query<Filter>,
    page: Page,
) -> Result<Listed<ReservationView>, Problem> {
    let reservations = List::of("reservations").only("order_id", filter.order_id.map(|id| id.to_string()));
    reservations.ordered("created_at DESC, reservation_id DESC").page(service.database(), &page).await
}

/// Returns what the service finds in its own data, for the check of the whole system.
#[utoipa::path(
    get, path = "/check", tag = "check", operation_id = "check",
    responses((status = 200, description = "What the service finds in its own data.", body = Findings)),
)]
async fn check(Extension(service): Extension<ServiceHandle>) -> Result<Json<Findings>, Problem> {
    Ok(Json(audit::audit(service.database()).await?))
}
