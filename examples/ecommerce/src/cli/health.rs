//! `ecommerce health`: checks whether the services of this configuration can accept work. It is the health check of their
//! container.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{Options, OptionsError, Output};
use crate::{OperatorToken, ServiceName};

/// The timeout for a service's answer: a little longer than the service's own limit.
const PATIENCE: Duration = Duration::from_secs(3);

/// Requests `/health/ready` of all services in parallel, and returns whether all are ready. It sends the operator's token, if there is one,
/// because the details are for operators.
///
/// # Errors
/// When `--base-port` is 0, so that no port is known, or when the operator's token is not valid.
pub(super) async fn health(options: &Options, output: Output) -> Result<bool, OptionsError> {
    let (urls, token) = (options.urls()?, options.token()?);
    let token = token.as_ref().map(OperatorToken::as_str);
    let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build();
    let http = http.map_err(|error| OptionsError::Client(error.to_string()))?;
    let asked = urls.into_iter().map(async |(service, url)| (service, ask(&http, &url, token).await));
    let answers: BTreeMap<ServiceName, Answer> = futures_util::future::join_all(asked).await.into_iter().collect();

    for (service, answer) in &answers {
        output.say(format_args!(
            "{service:<13} {}{}",
            answer.status,
            answer.why.as_deref().map_or(String::new(), |why| format!(": {why}"))
        ));
    }
    let told =
        answers.iter().map(|(service, answer)| (service.to_string(), json!({"status": answer.status, "detail": answer.why})));
    output.give(&Value::Object(told.collect()));
    Ok(answers.values().all(|answer| answer.ready))
}

struct Answer {
    ready: bool,
    status: String,
    /// Why the service is not ready.
    why: Option<String>,
}

async fn ask(http: &reqwest::Client, url: &str, token: Option<&str>) -> Answer {
    let url = format!("{url}/health/ready");
    let not_there = |why: String| Answer { ready: false, status: "DOWN".to_owned(), why: Some(why) };
    let request = token.into_iter().fold(http.get(&url), reqwest::RequestBuilder::bearer_auth);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return not_there(format!("no answer at {url} within {} s", PATIENCE.as_secs())),
        Err(error) if error.is_connect() => return not_there(format!("nothing listens at {url}")),
        Err(error) => return not_there(error.to_string()),
    };
    let ready = answer.status().is_success();
    let code = answer.status().as_u16();
    let Ok(report) = answer.json::<Value>().await else { return not_there(format!("{url} answers {code} without a report")) };
    let failing = report["checks"].as_object().into_iter().flatten().filter(|(_, check)| check["status"] != "UP");
    let told = |check: &Value| {
        check["detail"].as_str().map_or_else(|| check["status"].as_str().unwrap_or("down").to_lowercase(), str::to_owned)
    };
    let why: Vec<_> = failing.map(|(name, check)| format!("{name}: {}", told(check))).collect();
    let status = report["status"].as_str().unwrap_or("DOWN").to_owned();
    Answer { ready, status, why: (!why.is_empty()).then(|| why.join("; ")) }
}
