//! HAProxy: its in-memory cache, one thread.

use super::{Setup, words};
use crate::Error;

pub(super) const SETTINGS: &str = "1 thread; cache of 64 MiB; no log; TLS 1.3 only";

pub(super) const ROOM_SETTINGS: &str = "1 thread; cache with total-max-size (the room), max-object-size 1.1 MB; no log";

pub(super) fn command(setup: &Setup<'_>) -> Result<Vec<String>, Error> {
    let file = setup.write("haproxy.cfg", &configuration(setup))?;
    Ok(words(["haproxy", "-db", "-f", &file]))
}

fn configuration(setup: &Setup<'_>) -> String {
    let ports = &setup.ports;
    format!(
        "global\n  nbthread 1\n  maxconn 9000\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  timeout http-keep-alive 1h\n\
         cache bench\n  total-max-size {}\n  max-object-size {}\n  max-age 3600\n\
         frontend front\n  bind {} backlog 4096\n  bind {} proto h2 backlog 4096\n  bind {} ssl crt {} alpn h2,http/1.1 backlog 4096\n\
         \x20 http-request cache-use bench\n  http-response cache-store bench\n\
         \x20 default_backend origin\n\
         backend origin\n  server origin {}\n",
        setup.room.map_or(64, |room| room.memory),
        if setup.room.is_some() { 1_100_000 } else { 1_048_576 },
        ports.http1,
        ports.http2,
        ports.tls,
        setup.certificate.both.display(),
        setup.origin
    )
}
