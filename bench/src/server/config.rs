//! The configuration text of each server: keep-alive without a request limit, no logs, one worker.
//!
//! nginx runs twice. Once with `sendfile` and `tcp_nopush` on, as Debian's nginx.conf has them; once tuned for exactly
//! these rows: open files remembered, and `tcp_nopush` off for the large object, which over the loopback interface more
//! than halves its cost. The budgets on small objects were set against the first.

use std::fmt::Write;
use std::net::SocketAddr;

/// Address prefixes in Breakwater's deny list: the budget holds with access lists on.
const DENIED: u8 = 64;

/// nginx in the foreground: one worker, files in `directory`.
pub(super) fn nginx(directory: &str, address: SocketAddr, origin: SocketAddr, tuned: bool) -> String {
    let pass = format!("proxy_pass http://{origin};");
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
         \x20 server {{\n    listen {address};\n    location / {{ {pass} }}\n    {large}\n  }}\n}}\n"
    )
}

/// HAProxy: one thread, a 64 MiB cache.
pub(super) fn haproxy(address: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 9000\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  timeout http-keep-alive 1h\n\
         cache bench\n  total-max-size 64\n  max-object-size 1048576\n  max-age 3600\n\
         frontend front\n  bind {address}\n  http-request cache-use bench\n  http-response cache-store bench\n\
         \x20 default_backend origin\n\
         backend origin\n  server origin {origin}\n"
    )
}

/// One EdgeCache for every host and a WafPolicy with a deny list.
pub(super) fn breakwater(origin: SocketAddr) -> String {
    let mut text = format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: bench}}\nspec:\n\
         \x20 hostnames: [\"*\"]\n  origin: {{urls: [\"http://{origin}\"]}}\n\
         ---\n\
         apiVersion: breakwater.dev/v1alpha1\nkind: WafPolicy\nmetadata: {{name: bench}}\nspec:\n\
         \x20 targetRefs: [{{group: breakwater.dev, kind: EdgeCache, name: bench}}]\n  addresses:\n    deny:\n"
    );
    for third in 0..DENIED {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "    - 198.18.{third}.0/24");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tuned_nginx_remembers_open_files() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(!nginx("d", address, address, false).contains("open_file_cache"));
        assert!(nginx("d", address, address, true).contains("tcp_nopush off"));
    }

    #[test]
    fn the_deny_list_has_every_prefix_once() {
        let text = breakwater(SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut prefixes: Vec<&str> = text.lines().filter(|line| line.contains("/24")).collect();
        prefixes.dedup();
        assert_eq!(prefixes.len(), usize::from(DENIED));
    }
}
