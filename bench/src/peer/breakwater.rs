//! Breakwater: one EdgeCache for every host, another with TLS, and a WafPolicy with a deny list for both.

use std::fmt::Write;
use std::path::Path;

use super::{Setup, words};
use crate::load::TLS_HOST;
use crate::{Error, machine};

pub(super) const SETTINGS: &str =
    "1 worker; metrics on; 64 denied prefixes; no access log; TLS 1.3 with clients that offer it";

/// Address prefixes in the deny list: the budget holds with access lists on.
const DENIED: u8 = 64;

pub(super) fn command(setup: &Setup<'_>, program: &Path) -> Result<Vec<String>, Error> {
    let program_name = program.display().to_string();
    setup.write("manifests/bench.yaml", &manifests(setup, "bench", "*", ""))?;
    let state = setup.make_directory("state")?;
    let mut command = words([
        &program_name,
        "up",
        "-f",
        &setup.path("manifests"),
        "--state-dir",
        &state,
        // The load is one client, and an idle row has more connections than one client may have.
        "--max-connections-per-client",
        "100000",
    ]);
    command.extend(words(["--listen", &setup.ports.http1.to_string()]));
    command.extend(words(["--admin", &setup.ports.admin.to_string(), "--workers", "1"]));
    if let Some(room) = setup.room {
        command.extend(words(["--memory", &format!("{}Mi", room.memory)]));
        if let Some(disk) = room.disk {
            command.extend(words(["--disk", &format!("{disk}Mi")]));
        }
    }
    // One without TLS is measured in clear text all the same.
    if machine::output(program, &["up", "--help"]).contains("--listen-tls") {
        let tls = "  tls: {secretName: bench-tls, redirect: false}\n";
        let text = manifests(setup, "bench-tls", TLS_HOST, tls) + "---\n" + &secret(setup)?;
        setup.write("manifests/tls.yaml", &text)?;
        command.extend(words(["--listen-tls", &setup.ports.tls.to_string()]));
    }
    Ok(command)
}

fn manifests(setup: &Setup<'_>, name: &str, host: &str, tls: &str) -> String {
    let mut text = format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: {name}}}\nspec:\n\
         \x20 hostnames: [\"{host}\"]\n  origin: {{urls: [\"http://{}\"]}}\n{tls}\
         ---\n\
         apiVersion: breakwater.dev/v1alpha1\nkind: WafPolicy\nmetadata: {{name: {name}}}\nspec:\n\
         \x20 targetRefs: [{{group: breakwater.dev, kind: EdgeCache, name: {name}}}]\n  addresses:\n    deny:\n",
        setup.origin
    );
    for third in 0..DENIED {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "    - 198.18.{third}.0/24");
    }
    text
}

fn secret(setup: &Setup<'_>) -> Result<String, Error> {
    let indented = |file: &Path| -> Result<String, Error> {
        let pem = std::fs::read_to_string(file).map_err(Error::io(format!("reading {}", file.display())))?;
        Ok(pem.lines().map(|line| format!("    {line}\n")).collect())
    };
    Ok(format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bench-tls}}\ntype: kubernetes.io/tls\nstringData:\n\
         \x20 tls.crt: |\n{}  tls.key: |\n{}",
        indented(&setup.certificate.chain)?,
        indented(&setup.certificate.key)?
    ))
}
