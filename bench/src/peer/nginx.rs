//! nginx: `proxy_cache`, keep-alive without a request limit, one worker.
//!
//! It runs twice. Once with `sendfile` and `tcp_nopush` on, as Debian's nginx.conf has them; once tuned for exactly the
//! rows over HTTP/1.1: open files remembered, and `tcp_nopush` off for the large object, which over the loopback
//! interface more than halves its cost. The budgets on small objects were set against the first.

use super::{Setup, words};
use crate::Error;

pub(super) const SETTINGS: &str = "1 worker; sendfile, tcp_nopush, tcp_nodelay on; aio off; proxy_cache; no request limit per connection; TLS 1.3 only";
pub(super) const TUNED_SETTINGS: &str = "as nginx, with open_file_cache, and without tcp_nopush for the large object";

pub(super) fn command(setup: &Setup<'_>, tuned: bool) -> Result<Vec<String>, Error> {
    let file = setup.write("nginx.conf", &configuration(setup, tuned))?;
    Ok(words(["nginx", "-p", &setup.path(""), "-c", &file]))
}

fn configuration(setup: &Setup<'_>, tuned: bool) -> String {
    let directory = setup.directory.display();
    let ports = &setup.ports;
    let pass = format!("proxy_pass http://{};", setup.origin);
    let (open_files, large) = if tuned {
        (
            "open_file_cache max=100 inactive=1h;\n  open_file_cache_valid 1h;",
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
         \x20 proxy_cache_path {directory}/cache levels=1:2 keys_zone=bench:16m inactive=1h;\n\
         \x20 proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n  proxy_cache bench;\n\
         \x20 ssl_protocols TLSv1.3;\n  ssl_certificate {};\n  ssl_certificate_key {};\n\
         \x20 server {{\n    listen {} backlog=4096;\n    listen {} http2 backlog=4096;\n    listen {} ssl backlog=4096;\n\
         \x20   location / {{ {pass} }}\n    {large}\n  }}\n}}\n",
        setup.certificate.chain.display(),
        setup.certificate.key.display(),
        ports.http1,
        ports.http2,
        ports.tls,
    )
}
