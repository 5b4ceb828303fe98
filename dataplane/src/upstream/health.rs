//! Active health checks: each server is asked at an interval, on a connection of its own.
//!
//! The first answer decides at once; after that it takes so many in a row. A change is logged once.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use breakwater_snapshot::unit::{HealthCheck, OriginProtocol};
use breakwater_wire::http1::{Limits, Parsed, parse_response};
use http::header::{self, HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::head::{Body, Head};
use super::http2;
use super::keeper::Shared;
use super::origin::Origin;
use super::server::Server;

/// A check's answer may have a head this large; its body is not read.
const HEAD_LIMITS: Limits = Limits {
    request_line: 1024,
    head: 16 * 1024,
    fields: 100,
};

/// Checks the servers of an origin, those that come later too, for as long as it is polled.
pub(super) async fn keep(origin: &Arc<Origin>, shared: &Rc<Shared>, check: HealthCheck) {
    let check = Rc::new(check);
    let mut changes = origin.subscribe();
    let mut tasks = JoinSet::new();
    let mut checked = HashMap::<*const Server, (Arc<Server>, AbortHandle)>::new();
    loop {
        let servers = Arc::clone(&changes.borrow_and_update());
        checked.retain(|_, (server, task)| {
            let stays = servers.entries.iter().any(|entry| Arc::ptr_eq(&entry.server, server));
            if !stays {
                task.abort();
            }
            stays
        });
        for entry in &servers.entries {
            let server = &entry.server;
            checked.entry(Arc::as_ptr(server)).or_insert_with(|| {
                let (origin, shared, check) = (Arc::clone(origin), Rc::clone(shared), Rc::clone(&check));
                let watched = watch(origin, shared, Arc::clone(server), check);
                (Arc::clone(server), tasks.spawn_local(watched))
            });
        }
        while tasks.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn watch(origin: Arc<Origin>, shared: Rc<Shared>, server: Arc<Server>, check: Rc<HealthCheck>) {
    let (mut good, mut bad) = (0, 0);
    loop {
        let Ok(permit) = shared.checks.acquire().await else {
            return;
        };
        let answer = timeout(Duration::from_millis(check.timeout_ms), ask(&origin, &server, &check)).await;
        drop(permit);
        let verdict = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let first = !server.was_checked();
        let changed = match &verdict {
            Ok(()) => {
                (good, bad) = (good + 1, 0);
                (first || good >= check.healthy_after) && server.set_healthy(true, origin.now_ms())
            }
            Err(_) => {
                (good, bad) = (0, bad + 1);
                (first || bad >= check.unhealthy_after) && server.set_healthy(false, origin.now_ms())
            }
        };
        if changed {
            let resource = origin.label.as_str();
            match verdict {
                Ok(()) => tracing::info!(resource, "the server {server} is healthy again and takes requests"),
                Err(reason) => {
                    tracing::warn!(
                        resource,
                        "the server {server} is unhealthy and takes no requests: {reason}"
                    );
                }
            }
        }
        // A tenth either way, so that nodes and servers do not fall into step.
        let interval = check.interval_ms.max(1);
        sleep(Duration::from_millis(interval * fastrand::u64(90..=110) / 100)).await;
    }
}

/// Asks once. The error says what was wrong, for a person.
async fn ask(origin: &Origin, server: &Server, check: &HealthCheck) -> Result<(), String> {
    let http2 = origin.unit.protocol == OriginProtocol::Http2;
    let dialled = origin.dial(server, http2).await;
    let mut stream = dialled.map_err(|error| error.to_string())?;
    let host = check.host.clone().unwrap_or_else(|| server.to_string());
    let host = host
        .parse()
        .map_err(|_| "the check's host is no field value".to_owned())?;
    let mut fields = HeaderMap::new();
    fields.insert(header::HOST, host);
    fields.insert(header::USER_AGENT, HeaderValue::from_static("breakwater"));
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let head = Head {
        method: "GET".to_owned(),
        target: check.path.clone(),
        fields,
        body: Body::None,
        trailers: false,
    };
    if http2 {
        let status = http2::ask(stream, &head, origin.unit.tls.is_some()).await;
        return judge(status.map_err(|error| error.to_string())?, check);
    }
    let request = head.encode().map_err(|error| error.to_string())?;
    stream.write_all(&request).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut received = Vec::with_capacity(1024);
    loop {
        let read = stream
            .read_buf(&mut received)
            .await
            .map_err(|error| error.to_string())?;
        match parse_response(&received, "GET", &HEAD_LIMITS).map_err(|error| error.to_string())? {
            Parsed::Complete(head) => return judge(head.status, check),
            Parsed::Partial if read == 0 => return Err("it closed the connection without an answer".to_owned()),
            Parsed::Partial => {}
        }
    }
}

fn judge(status: u16, check: &HealthCheck) -> Result<(), String> {
    let good = match check.statuses.as_slice() {
        [] => (200..400).contains(&status),
        statuses => statuses.contains(&status),
    };
    if good {
        Ok(())
    } else {
        Err(format!("it answers {status}"))
    }
}
