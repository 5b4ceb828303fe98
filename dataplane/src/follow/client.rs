//! The HTTP client of the follower: opens the stream, fetches blobs, acknowledges, says goodbye.
//!
//! Invariant: nothing that arrives is trusted with memory: a line and a blob are read no further than their bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use breakwater_snapshot::{Ack, Digest, Entry, Manifest, ObjectId, PeerNews};

use super::Config;

/// Why the operator could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request failed.
    #[error("the operator cannot be reached: {0}")]
    Request(String),
    /// The operator refused.
    #[error("the operator answered {0}: {1}")]
    Status(StatusCode, String),
    /// The stream sent nothing, not even a heartbeat.
    #[error("the operator has been silent for {0:?}")]
    Silent(Duration),
    /// A line is too long.
    #[error("the manifest is longer than {0} bytes, which is this node's limit")]
    LongManifest(usize),
    /// A line is no manifest.
    #[error("the operator sent a manifest that cannot be read: {0}")]
    Malformed(String),
    /// A blob could not be fetched.
    #[error("the unit of {0} cannot be fetched: {1}")]
    Blob(ObjectId, String),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        // The outer message alone is "error sending request"; the cause says what went wrong.
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::Request(text)
    }
}

/// Talks to one operator.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    operator: Url,
    node: String,
    answer: Duration,
    silence: Duration,
    fetches: usize,
    manifest_bytes: usize,
    blob_bytes: u64,
}

/// A manifest and the digest the operator knows it by.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub(super) digest: Digest,
    pub(super) manifest: Manifest,
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Line {
    /// The operator lives, and what we have is still what it publishes.
    Heartbeat,
    /// A new manifest.
    Manifest(Announced),
    /// Which nodes may be asked.
    Peers(PeerNews),
}

impl Client {
    pub(super) fn new(config: &Config) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .hickory_dns(true)
            .connect_timeout(config.timing.answer)
            .http1_only()
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_keepalive(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            operator: config.operator.clone(),
            node: config.node.clone(),
            answer: config.timing.answer,
            silence: config.timing.silence,
            fetches: config.timing.fetches,
            manifest_bytes: config.timing.manifest_bytes,
            blob_bytes: config.timing.blob_bytes,
        })
    }

    /// Opens a stream that begins with the newest manifest, unless that is `have`.
    pub(super) async fn open(&self, have: Option<Digest>) -> Result<Lines, FetchError> {
        let mut url = self.url(&["v1", "stream"]);
        url.query_pairs_mut().append_pair("node", &self.node);
        if let Some(have) = have {
            url.query_pairs_mut().append_pair("have", &have.to_string());
        }
        // The stream's own bound is silence; only its head is awaited with a deadline.
        let request = self.http.get(url).send();
        let response = tokio::time::timeout(self.answer, request)
            .await
            .map_err(|_| FetchError::Silent(self.answer))??;
        Ok(Lines {
            response: accept(response).await?,
            buffer: Vec::new(),
            scanned: 0,
            longest: self.manifest_bytes,
            silence: self.silence,
        })
    }

    /// Fetches the blobs of `wanted`, a few at once, into `into`, which keeps what arrived before a failure.
    pub(super) async fn fetch(
        &self,
        wanted: Vec<Entry>,
        into: &mut BTreeMap<Digest, Arc<[u8]>>,
    ) -> Result<(), FetchError> {
        let mut arriving = stream::iter(wanted)
            .map(|entry| async move {
                let bytes = self.blob(&entry).await?;
                Ok::<_, FetchError>((entry.sha256, bytes))
            })
            .buffer_unordered(self.fetches.max(1));
        while let Some((digest, bytes)) = arriving.try_next().await? {
            into.insert(digest, bytes);
        }
        Ok(())
    }

    async fn blob(&self, entry: &Entry) -> Result<Arc<[u8]>, FetchError> {
        let wrong = |why: String| FetchError::Blob(entry.id.clone(), why);
        if entry.size > self.blob_bytes {
            let limit = self.blob_bytes;
            return Err(wrong(format!(
                "it has {} bytes, this node's limit is {limit}",
                entry.size
            )));
        }
        let url = self.url(&["v1", "blobs", &entry.sha256.to_string()]);
        let reading = async {
            let response = accept(self.http.get(url).send().await?).await?;
            let mut bytes = Vec::with_capacity(usize::try_from(entry.size).unwrap_or(0));
            let mut body = response.bytes_stream();
            while let Some(chunk) = body.try_next().await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() as u64 > entry.size {
                    break;
                }
            }
            Ok::<_, FetchError>(bytes)
        };
        let bytes = tokio::time::timeout(self.answer, reading)
            .await
            .map_err(|_| wrong(format!("it did not arrive within {:?}", self.answer)))?
            .map_err(|error| wrong(error.to_string()))?;
        if Digest::of(&bytes) != entry.sha256 {
            return Err(wrong("what arrived does not match its digest".to_owned()));
        }
        Ok(bytes.into())
    }

    /// Tells the operator what this node runs.
    pub(super) async fn ack(&self, ack: &Ack) -> Result<(), FetchError> {
        let request = self.http.post(self.url(&["v1", "ack"])).timeout(self.answer).json(ack);
        accept(request.send().await?).await.map(drop)
    }

    /// Tells the operator not to wait for this node any more.
    pub(super) async fn goodbye(&self) -> Result<(), FetchError> {
        let request = self
            .http
            .delete(self.url(&["v1", "nodes", &self.node]))
            .timeout(self.answer);
        accept(request.send().await?).await.map(drop)
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.operator.clone();
        // Only a URL that cannot be a base has no segments, and `Follower::new` refuses those.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

async fn accept(response: Response) -> Result<Response, FetchError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    // The first chunk says why, in a line; more is not worth reading.
    let mut body = response.bytes_stream();
    let why = match body.next().await {
        Some(Ok(chunk)) => String::from_utf8_lossy(chunk.get(..chunk.len().min(200)).unwrap_or_default()).into_owned(),
        _ => String::new(),
    };
    Err(FetchError::Status(status, why.trim().to_owned()))
}

/// The lines of a stream.
#[derive(Debug)]
pub(super) struct Lines {
    response: Response,
    buffer: Vec<u8>,
    /// How much of `buffer` is known to hold no line feed.
    scanned: usize,
    longest: usize,
    silence: Duration,
}

impl Lines {
    /// The next line; none when the operator ended the stream. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, FetchError> {
        loop {
            let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.scanned + at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                self.scanned = 0;
                line.pop();
                return read(&line).map(Some);
            }
            self.scanned = self.buffer.len();
            if self.buffer.len() > self.longest {
                return Err(FetchError::LongManifest(self.longest));
            }
            let chunk = tokio::time::timeout(self.silence, self.response.chunk())
                .await
                .map_err(|_| FetchError::Silent(self.silence))??;
            match chunk {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Reads a line: a manifest has `entries`, word of other nodes `peers`; whatever else an operator says, it lives.
///
/// An operator that is newer may list kinds this node does not know. Those entries are left out with a warning; the
/// manifest is still known by the digest of its text, so that the acknowledgement names what the operator sent.
fn read(line: &[u8]) -> Result<Line, FetchError> {
    let announce = |entries| {
        Line::Manifest(Announced {
            digest: Digest::of(line),
            manifest: Manifest::new(entries),
        })
    };
    #[derive(Deserialize)]
    struct Known {
        entries: Option<Vec<Entry>>,
        peers: Option<PeerNews>,
    }
    #[derive(Deserialize)]
    struct Unknown {
        entries: Vec<serde_json::Value>,
    }
    if let Ok(known) = serde_json::from_slice::<Known>(line) {
        return Ok(match (known.entries, known.peers) {
            (Some(entries), _) => announce(entries),
            (None, Some(peers)) => Line::Peers(peers),
            (None, None) => Line::Heartbeat,
        });
    }
    let values = serde_json::from_slice::<Unknown>(line).map_err(|error| FetchError::Malformed(error.to_string()))?;
    let total = values.entries.len();
    let entries: Vec<Entry> = values
        .entries
        .into_iter()
        .filter_map(|value| serde_json::from_value(value).ok())
        .collect();
    tracing::warn!(
        unknown = total - entries.len(),
        "the operator publishes objects of kinds this version does not know; they are left out"
    );
    Ok(announce(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_manifest_or_a_sign_of_life() {
        assert!(matches!(read(b"{\"heartbeat\":true}"), Ok(Line::Heartbeat)));
        let text = Manifest::default().to_json();
        match read(&text) {
            Ok(Line::Manifest(announced)) => assert_eq!(announced.digest, Manifest::default().digest()),
            other => panic!("{other:?}"),
        }
        let peers = b"{\"peers\":{\"members\":[{\"node\":\"a\",\"address\":\"192.0.2.1:8602\"}],\"keys\":[]}}";
        assert!(matches!(read(peers), Ok(Line::Peers(news)) if news.members.len() == 1));
        assert!(matches!(read(b"{\"peers\":3}"), Err(FetchError::Malformed(_))));
        assert!(matches!(read(b"<html>"), Err(FetchError::Malformed(_))));
        assert!(matches!(read(b"{\"entries\":3}"), Err(FetchError::Malformed(_))));
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_left_out_and_the_digest_stays_the_operators() {
        let digest = Digest::of(b"x");
        let entry = |kind| {
            format!(
                "{{\"kind\":\"{kind}\",\"namespace\":\"a\",\"name\":\"b\",\"generation\":1,\"sha256\":\"{digest}\",\"size\":1}}"
            )
        };
        let text = format!("{{\"entries\":[{},{}]}}", entry("EdgeCache"), entry("EdgeToaster"));
        match read(text.as_bytes()) {
            Ok(Line::Manifest(announced)) => {
                assert_eq!(announced.digest, Digest::of(text.as_bytes()));
                assert_eq!(announced.manifest.entries.len(), 1);
            }
            other => panic!("{other:?}"),
        }
    }
}
