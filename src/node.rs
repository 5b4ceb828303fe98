//! Talking with the admin port of a node: one request, one JSON answer.

use std::time::Duration;

use serde_json::Value;

use crate::exit::Failure;

/// What an admin port says at most.
const MAX_ANSWER: usize = 16 << 20;

/// What a node answered.
pub(crate) enum Answer {
    /// It did as asked.
    Good(Value),
    /// It found fault with the request, for a person.
    Refused(String),
}

/// Asks `method path` of the admin port at `admin` (`HOST:PORT`).
pub(crate) fn ask(admin: &str, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("no runtime: {error}"), ""))?;
    runtime.block_on(exchange(admin, method, path, body))
}

async fn exchange(admin: &str, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
    let address = admin.trim_start_matches("http://").trim_end_matches('/');
    let url: reqwest::Url = format!("http://{address}{path}").parse().map_err(|error| {
        Failure::environment(
            format!("`{admin}` is not the address of an admin port: {error}"),
            "write HOST:PORT",
        )
    })?;
    let unreachable = |error: reqwest::Error| {
        Failure::environment(
            format!("the admin port {address} cannot be asked: {}", cause(&error)),
            "is a node running there? `--admin` says where else to ask",
        )
    };
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .build()
        .map_err(unreachable)?;
    let mut request = client.request(method, url);
    if let Some(body) = body {
        request = request.json(body);
    }
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let mut text = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        text.extend_from_slice(&piece);
        if text.len() > MAX_ANSWER {
            return Err(Failure::environment(
                format!("{address} answers with more than 16 MiB"),
                "",
            ));
        }
    }
    let answer: Option<Value> = serde_json::from_slice(&text).ok();
    match answer {
        Some(answer) if status.is_success() => Ok(Answer::Good(answer)),
        Some(answer) if status.is_client_error() && answer["error"].is_string() => {
            Ok(Answer::Refused(answer["error"].as_str().unwrap_or_default().to_owned()))
        }
        _ => Err(Failure::environment(
            format!("{address} answers {status}, which an admin port of this version does not"),
            "does `--admin` name the admin port of a node, and not another port?",
        )),
    }
}

/// What is at the bottom of an error; the rest says it again.
fn cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Percent-encodes a value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
