//! How long a start takes with a full disk store: `disk_restart DIR GIB`. It makes one in DIR, of objects of 32 KiB, and
//! removes it again.

use std::path::PathBuf;
use std::time::Instant;

use breakwater_dataplane::{DataPlane, DiskOptions, Options, synthesize_disk};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("disk_restart DIR GIB")?).join("disk-restart");
    let gib: u64 = arguments.next().unwrap_or_else(|| "10".to_owned()).parse()?;
    let options = DiskOptions {
        dir: dir.clone(),
        bytes: gib << 30,
    };
    let objects = synthesize_disk(&options)?;
    let begun = Instant::now();
    let data_plane = DataPlane::start(&Options {
        listen: vec!["127.0.0.1:0".parse::<std::net::SocketAddr>()?.into()],
        disk: Some(options),
        ..Options::default()
    })?;
    println!("{gib} GiB, {objects} objects: serving after {:?}", begun.elapsed());
    drop(data_plane);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
