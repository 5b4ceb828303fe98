//! The conformance tests of h2spec (RFC 9113, RFC 7541), by the program itself.
//!
//! Over TLS all of them hold. In clear text one asks for what a port that also speaks HTTP/1.1 cannot do: a connection
//! that begins with something else than the preface is HTTP/1.1 there, and is answered as such.

use std::{net::SocketAddr, process::Command};

use breakwater_e2e::{
    Error, Result,
    breakwater::{DEADLINE, Site},
    cluster::build,
    command,
    origin::{self, Reply},
    requirements::Ring,
};

/// The test that cannot hold where HTTP/1.1 is spoken too.
const PREFACE: &str = "Sends invalid connection preface";

#[tokio::test]
async fn h2spec_finds_nothing() -> Result<()> {
    let h2spec = build::ensure(Ring::ControlPlane).await?.program("h2spec");
    let origin = origin::start(|_, _| Reply::text("no-store", "hello world")).await?;
    let site = Site::new(&[("site.yaml", &route(origin)), ("secret.yaml", &secret())])?;
    let mut up = site.up(["--listen-tls", "127.0.0.1:0"]).await?;
    let tls = up
        .front_tls
        .ok_or_else(|| Error::Invalid("it names no https address".to_owned()))?;
    up.wait_status("localhost", "/", "", 200).await?;

    let run = async |address: SocketAddr, more: &[&str]| {
        let mut command = Command::new(&h2spec);
        command
            .args(["-h", "localhost", "-o", "5", "-p", &address.port().to_string()])
            .args(more);
        let output = command::output(command, "", DEADLINE * 4).await?;
        Ok::<_, Error>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let report = run(tls, &["-t", "-k"]).await?;
    assert!(
        report.contains("145 tests, 145 passed, 0 skipped, 0 failed"),
        "{report}"
    );
    let report = run(up.front, &[]).await?;
    assert!(
        report.contains("145 tests, 144 passed, 0 skipped, 1 failed"),
        "{report}"
    );
    let failed = report.split("Failures:").nth(1).unwrap_or_default();
    assert!(failed.contains(PREFACE), "{report}");
    assert!(up.stop().await?.success());
    Ok(())
}

fn route(origin: SocketAddr) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: site}}\nspec:\n  hostnames: [localhost]\n  \
         tls: {{secretName: site-tls}}\n  origin: {{urls: [\"http://{origin}\"]}}\n"
    )
}

fn secret() -> String {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: site-tls}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(&certificate.cert.pem()),
        indented(&certificate.signing_key.serialize_pem())
    )
}
