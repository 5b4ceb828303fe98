//! Apache Traffic Server: a RAM cache over a small file, one event thread, no helper programs.

use super::{Room, Setup, words};
use crate::Error;

pub(super) const SETTINGS: &str =
    "1 event thread; RAM cache of 64 MiB over a file of 64 MiB; logging off; TLS 1.3 only";

pub(super) const ROOM_SETTINGS: &str = "1 event thread; without a disk, storage of the room on a tmpfs and no RAM cache; else storage on the disk and a RAM cache of the room's memory; logging off";

pub(super) fn command(setup: &Setup<'_>) -> Result<Vec<String>, Error> {
    let directory = setup.directory.display();
    let certificate = setup.certificate;
    for name in ["run", "log"] {
        setup.make_directory(name)?;
    }
    std::fs::create_dir_all(&setup.cache).map_err(Error::io(format!("making {}", setup.cache.display())))?;
    let root = format!(
        "prefix: /usr\nexec_prefix: /usr\nbindir: /usr/bin\nsbindir: /usr/sbin\n\
         libexecdir: /usr/lib/trafficserver/modules\ndatadir: /usr/share/trafficserver\n\
         sysconfdir: {directory}/etc\nlocalstatedir: {directory}/run\nruntimedir: {directory}/run\n\
         logdir: {directory}/log\ncachedir: {directory}/cache\n"
    );
    let records = format!(
        "CONFIG proxy.config.http.server_ports STRING {}:ipv4:ip-in={ip}:proto=http;http2 {}:ipv4:ip-in={ip}:ssl:proto=http;http2\n\
         CONFIG proxy.config.exec_thread.autoconfig INT 0\nCONFIG proxy.config.exec_thread.limit INT 1\n\
         CONFIG proxy.config.accept_threads INT 0\nCONFIG proxy.config.task_threads INT 1\n\
         CONFIG proxy.config.cache.threads_per_disk INT 1\nCONFIG proxy.config.exec_thread.affinity INT 0\n\
         CONFIG proxy.config.admin.user_id STRING #-1\nCONFIG proxy.config.log.logging_enabled INT 0\n\
         CONFIG proxy.config.cache.ram_cache.size INT {ram}\nCONFIG proxy.config.cache.ram_cache_cutoff INT 4194304\n\
         CONFIG proxy.config.http.insert_response_via_str INT 0\nCONFIG proxy.config.net.listen_backlog INT 4096\n\
         CONFIG proxy.config.http.keep_alive_no_activity_timeout_in INT 3600\n\
         CONFIG proxy.config.http2.no_activity_timeout_in INT 3600\n\
         CONFIG proxy.config.net.connections_throttle INT 30000\nCONFIG proxy.config.net.max_connections_in INT 30000\n\
         CONFIG proxy.config.reverse_proxy.enabled INT 1\nCONFIG proxy.config.url_remap.remap_required INT 1\n\
         CONFIG proxy.config.ssl.TLSv1_2 INT 0\n\
         CONFIG proxy.config.ssl.server.cert.path STRING {cert}\nCONFIG proxy.config.ssl.server.private_key.path STRING {cert}\n",
        setup.ports.http1.port(),
        setup.ports.tls.port(),
        ip = setup.ports.http1.ip(),
        ram = match setup.room {
            None => 64 << 20,
            // The file lies in memory: another copy there would be beyond the room.
            Some(Room { disk: None, .. }) => 0,
            Some(Room { memory, .. }) => memory << 20,
        },
        cert = certificate.directory().display(),
    );
    for (name, text) in [
        ("etc/records.config", records),
        ("etc/remap.config", format!("map / http://{}/\n", setup.origin)),
        (
            "etc/storage.config",
            format!(
                "{} {}M\n",
                setup.cache.display(),
                setup.room.map_or(64, |room| room.disk.unwrap_or(room.memory))
            ),
        ),
        (
            "etc/ssl_multicert.config",
            format!(
                "dest_ip=* ssl_cert_name={} ssl_key_name={}\n",
                certificate.chain.display(),
                certificate.key.display()
            ),
        ),
        (
            "etc/ip_allow.yaml",
            "ip_allow:\n  - apply: in\n    ip_addrs: 127.0.0.0/8\n    action: allow\n    methods: ALL\n".to_owned(),
        ),
    ] {
        setup.write(name, &text)?;
    }
    let root = setup.write("runroot.yaml", &root)?;
    Ok(words(["traffic_server", &format!("--run-root={root}")]))
}
