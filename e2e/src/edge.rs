//! One node as a client outside the pod network sees it: an address with port 80.

use std::path::Path;

use crate::{Error, Result, client::Client, cluster::Node, command, http::Response};

/// A client and the node it asks.
#[derive(Debug, Clone, Copy)]
pub struct Edge<'a> {
    client: &'a Client,
    node: &'a Node,
}

impl<'a> Edge<'a> {
    /// The way from `client` to port 80 of `node`.
    pub fn new(client: &'a Client, node: &'a Node) -> Self {
        Self { client, node }
    }

    /// The node's name.
    pub fn name(&self) -> &'a str {
        self.node.name()
    }

    /// `GET path` of `host`. Any status is an answer.
    ///
    /// # Errors
    /// When the node does not answer within ten seconds, or not in HTTP.
    pub async fn get(&self, host: &str, path: &str) -> Result<Response> {
        self.request(host, path).await
    }

    /// As [`Self::get`], for many at once: the future borrows nothing.
    pub(crate) fn request(&self, host: &str, path: &str) -> impl Future<Output = Result<Response>> + Send + 'static {
        let mut curl = self.client.command("curl");
        curl.args(["--silent", "--show-error", "--include", "--max-time", "10"]);
        curl.args(["--header", &format!("Host: {host}")]);
        curl.arg(format!("http://{}{path}", self.node.address()));
        async move { parse(&command::run(curl).await?) }
    }

    /// Opens a WebSocket with the program `websocket-echo`, sends `messages` and returns what came
    /// back, in lines; or `refused STATUS`.
    ///
    /// # Errors
    /// When the node does not answer, or breaks the protocol.
    pub async fn web_socket(
        &self,
        program: &Path,
        host: &str,
        path: &str,
        origin: &str,
        messages: &[&str],
    ) -> Result<String> {
        let mut command = self.client.command(&program.to_string_lossy());
        let address = format!("{}:80", self.node.address());
        command.args([&address, host, path, "--origin", origin]).args(messages);
        command::run(command).await
    }
}

/// What `curl --include` prints: the head of the response, an empty line, the body.
fn parse(text: &str) -> Result<Response> {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| (text.trim_end(), ""));
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| Error::Invalid(format!("not a response: {text}")))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Response {
        status,
        headers,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_body_are_told_apart() {
        let response = parse("HTTP/1.1 404 Not Found\r\nX-Request-Id: a:b\r\n\r\none\r\n\r\ntwo").expect("it is one");
        assert_eq!((response.status, response.header("x-request-id")), (404, "a:b"));
        assert_eq!(response.body, "one\r\n\r\ntwo");
        // Its body is empty and the last line end was trimmed.
        assert_eq!(
            parse("HTTP/1.1 204 No Content\r\nA: b").expect("it is one").header("a"),
            "b"
        );
        assert!(parse("curl: nothing").is_err());
    }
}
