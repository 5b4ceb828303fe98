//! nginx: `proxy_cache`, keep-alive without a request limit, one worker.
//!
//! It runs twice. Once with `sendfile` and `tcp_nopush` on, as Debian's nginx.conf has them; once tuned for exactly the
//! rows over HTTP/1.1: open files remembered, and `tcp_nopush` off for the large object, which over the loopback
//! interface more than halves its cost. The budgets on small objects were set against the first.
//!
//! Where its cache has a limit, it also has what its documentation recommends for misses: connections to the origin that
//! are kept alive, and temporary files beside the cache. Its manager looks at `max_size` when something may expire, every
//! ten seconds where nothing does: under load it would have several times its memory. A second cache in which something
//! always expires, one file for each look ([`TICK`]), has it look every 50 ms.

use std::time::Duration;

use super::{Setup, words};
use crate::Error;

pub(super) const SETTINGS: &str = "1 worker; sendfile, tcp_nopush, tcp_nodelay on; aio off; proxy_cache; no request limit per connection; TLS 1.3 only";
pub(super) const TUNED_SETTINGS: &str = "as nginx, with open_file_cache, and without tcp_nopush for the large object";

pub(super) const ROOM_SETTINGS: &str = "1 worker; sendfile, tcp_nopush, tcp_nodelay on; aio off; proxy_cache_path with max_size (the room), use_temp_path=off, levels=1:2, files on a tmpfs or on the disk of the room; upstream with keepalive";
pub(super) const TUNED_ROOM_SETTINGS: &str = "as nginx, without tcp_nopush for objects of 10,000 bytes and more";

/// How often the second cache has to be asked, on the port of administration.
pub(crate) const TICK: Duration = Duration::from_millis(45);

pub(super) fn command(setup: &Setup<'_>, tuned: bool) -> Result<Vec<String>, Error> {
    let file = setup.write("nginx.conf", &configuration(setup, tuned))?;
    Ok(words(["nginx", "-p", &setup.path(""), "-c", &file]))
}

fn configuration(setup: &Setup<'_>, tuned: bool) -> String {
    let directory = setup.directory.display();
    let ports = &setup.ports;
    let pass = match setup.room {
        None => format!("proxy_pass http://{};", setup.origin),
        Some(_) => "proxy_pass http://origin;".to_owned(),
    };
    let cache = setup.cache.display();
    let (storage, more) = match setup.room {
        None => (String::new(), String::new()),
        Some(room) => (
            format!(
                " max_size={}m use_temp_path=off manager_files=100000 manager_threshold=500ms",
                room.disk.unwrap_or(room.memory)
            ),
            format!(
                "  upstream origin {{ server {}; keepalive 64; }}\n\
                 \x20 proxy_cache_path {directory}/tick keys_zone=tick:1m inactive=1s manager_files=1 manager_sleep=50ms;\n\
                 \x20 server {{ listen {}; location / {{ {pass} proxy_cache tick; }} }}\n",
                setup.origin, ports.admin
            ),
        ),
    };
    let (open_files, large) = if tuned {
        (
            match setup.room {
                None => "open_file_cache max=100 inactive=1h;\n  open_file_cache_valid 1h;",
                // It would keep files that were evicted.
                Some(_) => "",
            },
            format!("location ~ /[0-9][0-9][0-9][0-9][0-9]+$ {{ {pass} tcp_nopush off; }}"),
        )
    } else {
        ("", String::new())
    };
    format!(
        "daemon off;\nworker_processes 1;\nuser root;\npid {directory}/nginx.pid;\nerror_log stderr warn;\n\
         worker_rlimit_nofile 20000;\nevents {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  tcp_nodelay on;\n  {open_files}\n\
         \x20 keepalive_timeout 3600s;\n  keepalive_requests 1000000000;\n\
         \x20 client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n\
         \x20 fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n  scgi_temp_path {directory}/scgi;\n\
         \x20 proxy_cache_path {cache} levels=1:2 keys_zone=bench:16m inactive=1h{storage};\n\
         \x20 proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n  proxy_cache bench;\n\
         \x20 ssl_protocols TLSv1.3;\n  ssl_certificate {};\n  ssl_certificate_key {};\n\
         \x20 server {{\n    listen {} backlog=4096;\n    listen {} http2 backlog=4096;\n    listen {} ssl backlog=4096;\n\
         \x20   location / {{ {pass} }}\n    {large}\n  }}\n{more}}}\n",
        setup.certificate.chain.display(),
        setup.certificate.key.display(),
        ports.http1,
        ports.http2,
        ports.tls,
    )
}
