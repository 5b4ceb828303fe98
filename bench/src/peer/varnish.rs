//! Varnish: malloc storage, its built-in VCL, HTTP/2 by prior knowledge on the same port.
//!
//! It serves each request on a thread of a pool; it gets one pool, on the CPU that every server gets.

use super::{Setup, words};
use crate::Error;

pub(super) const SETTINGS: &str =
    "malloc storage of 64 MiB; 1 thread pool; built-in VCL; feature +http2; nobody reads its shared-memory log";

pub(super) fn command(setup: &Setup<'_>) -> Result<Vec<String>, Error> {
    let (ip, port) = (setup.origin.ip(), setup.origin.port());
    let backend = format!("vcl 4.1;\nbackend origin {{ .host = \"{ip}\"; .port = \"{port}\"; }}\n");
    let vcl = setup.write("bench.vcl", &backend)?;
    let work = setup.make_directory("work")?;
    let listen = format!("{},HTTP", setup.ports.http1);
    let mut command = words(["varnishd", "-F", "-j", "none", "-n", &work, "-a", &listen, "-f", &vcl]);
    command.extend(words(["-s", "malloc,64m"]));
    for parameter in [
        "feature=+http2",
        "thread_pools=1",
        "timeout_idle=3600",
        "listen_depth=4096",
    ] {
        command.extend(words(["-p", parameter]));
    }
    Ok(command)
}
