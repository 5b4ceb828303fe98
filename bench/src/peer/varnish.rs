//! Varnish: malloc storage, its built-in VCL, HTTP/2 by prior knowledge on the same port.
//!
//! It serves each request on a thread of a pool; it gets one pool, on the CPU that every server gets.

use super::{Room, Setup, words};
use crate::Error;

pub(super) const SETTINGS: &str =
    "malloc storage of 64 MiB; 1 thread pool; built-in VCL; feature +http2; nobody reads its shared-memory log";

pub(super) const ROOM_SETTINGS: &str = "storage malloc, or file on the disk of the room; nuke_limit=1000; 1 thread pool; built-in VCL; nobody reads its shared-memory log";

pub(super) fn command(setup: &Setup<'_>) -> Result<Vec<String>, Error> {
    let (ip, port) = (setup.origin.ip(), setup.origin.port());
    let backend = format!("vcl 4.1;\nbackend origin {{ .host = \"{ip}\"; .port = \"{port}\"; }}\n");
    let vcl = setup.write("bench.vcl", &backend)?;
    let work = setup.make_directory("work")?;
    let listen = format!("{},HTTP", setup.ports.http1);
    let mut command = words(["varnishd", "-F", "-j", "none", "-n", &work, "-a", &listen, "-f", &vcl]);
    let storage = match setup.room {
        None => "malloc,64m".to_owned(),
        Some(Room { memory, disk: None }) => format!("malloc,{memory}m"),
        Some(Room { disk: Some(disk), .. }) => format!("file,{},{disk}m", setup.path("storage")),
    };
    command.extend(words(["-s", &storage]));
    if setup.room.is_some() {
        // A large object may have to push out more small ones than the default lets it: its fetch would fail.
        command.extend(words(["-p", "nuke_limit=1000"]));
    }
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
