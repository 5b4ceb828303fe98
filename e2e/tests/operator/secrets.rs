//! TLS Secrets: from `kubectl apply` to the handshake, and what is left when one is replaced, lost or the operator gone.

use std::{net::SocketAddr, path::Path, sync::Arc};

use breakwater_e2e::{
    Result, requirements,
    ring_a::{RingA, origin::Origin},
    wait as condition,
};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{DEADLINE, apply_shop, nothing_was_refused, reason, wait};

const HOST: &str = "secure.example.com";

const ROUTE: &str = r"
apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {name: secure}
spec:
  hostnames: [secure.example.com]
  tls: {secretName: secure-tls}
  origin: {service: {name: shop, port: 8080}}
";

fn certificate() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed([HOST.to_owned()]).expect("a certificate")
}

fn secret(certificate: &CertifiedKey<KeyPair>) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: secure-tls}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(&certificate.cert.pem()),
        indented(&certificate.signing_key.serialize_pem())
    )
}

/// The status line of a request over TLS with a server that must show exactly this certificate.
async fn get(address: SocketAddr, certificate: &CertifiedKey<KeyPair>) -> std::result::Result<String, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).map_err(|e| text(&e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| text(&e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(HOST).map_err(|e| text(&e))?;
    let socket = TcpStream::connect(address).await.map_err(|e| text(&e))?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, socket).await.map_err(|e| text(&e))?;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|e| text(&e))?;
    let mut answer = Vec::new();
    // What counts is what came; how the other side ends the connection does not.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// Waits until the node serves the host with this certificate.
async fn served(address: SocketAddr, certificate: &CertifiedKey<KeyPair>) -> Result<()> {
    condition::until("the certificate is served", DEADLINE, async || {
        match get(address, certificate).await? {
            line if line.starts_with("HTTP/1.1 200") => Ok(()),
            line => Err(line),
        }
    })
    .await
}

/// Every file below a directory, as text.
fn texts(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(texts(&path)?);
        } else {
            all.push(String::from_utf8_lossy(&std::fs::read(path)?).into_owned());
        }
    }
    Ok(all)
}

#[tokio::test]
async fn a_certificate_comes_from_a_secret_is_replaced_outlives_the_operator_and_goes_with_it() -> Result<()> {
    if requirements::skipped_by_runner("secrets") {
        return Ok(());
    }
    let ring = RingA::start().await?;
    let origin = Origin::start().await?;
    let mut operator = ring.operator(1, &[])?;
    let mut node = ring.data_plane(1, operator.address())?;
    operator.ready().await?;
    node.ready().await?;
    apply_shop(&ring, &origin).await?;
    let address = node.tls_address();
    let (first, second) = (certificate(), certificate());

    // Without the Secret the object stands, and says what is missing.
    let route = "edgecache/secure";
    ring.kubectl().apply(ROUTE).await?;
    let told = reason(&ring, route, "ResolvedRefs", "False", "InvalidCertificateRef").await?;
    assert!(told.contains("there is no Secret default/secure-tls"), "{told}");
    wait(&ring, route, "Accepted").await?;
    assert!(get(address, &first).await.is_err(), "there is no certificate yet");

    ring.kubectl().apply(&secret(&first)).await?;
    wait(&ring, route, "ResolvedRefs").await?;
    wait(&ring, route, "Programmed").await?;
    served(address, &first).await?;

    ring.kubectl().apply(&secret(&second)).await?;
    served(address, &second).await?;
    wait(&ring, route, "Programmed").await?;
    assert!(get(address, &first).await.is_err(), "the old certificate is gone");

    // A key that does not fit: the last good certificate stays.
    let wrong = secret(&CertifiedKey {
        cert: first.cert.clone(),
        signing_key: certificate().signing_key,
    });
    ring.kubectl().apply(&wrong).await?;
    let told = reason(&ring, route, "ResolvedRefs", "False", "InvalidCertificateRef").await?;
    assert!(told.contains("does not belong"), "{told}");
    served(address, &second).await?;
    nothing_was_refused(&ring, &mut [&mut operator]).await?;

    // The node restarts while nobody tells it anything: TLS from the directory for Secrets.
    ring.kubectl().apply(&secret(&second)).await?;
    wait(&ring, route, "ResolvedRefs").await?;
    wait(&ring, route, "Programmed").await?;
    operator.process().kill();
    let mut logs = vec![operator.process().output()?, node.process().output()?];
    node.process().kill();
    node = ring.data_plane(1, operator.address())?;
    node.ready().await?;
    served(address, &second).await?;
    operator = ring.operator(1, &[])?;
    operator.ready().await?;

    ring.kubectl().run("delete secret secure-tls").await?;
    reason(&ring, route, "ResolvedRefs", "False", "InvalidCertificateRef").await?;
    condition::until("no certificate is served", DEADLINE, async || {
        match get(address, &second).await {
            Err(_) => Ok(()),
            Ok(line) => Err(line),
        }
    })
    .await?;

    // No key was told or written anywhere but into the directory for Secrets, which has forgotten it.
    logs.extend([operator.process().output()?, node.process().output()?]);
    logs.push(ring.kubectl().run("get edge,events -A -o yaml").await?);
    let state = texts(&ring.state_directory(1)?).expect("the state directory can be read");
    assert!(!state.is_empty());
    for certificate in [&first, &second] {
        let pem = certificate.signing_key.serialize_pem();
        let line = pem.lines().nth(1).expect("a key has lines");
        for text in logs.iter().chain(&state) {
            assert!(!text.contains(line), "a key is in {text}");
        }
    }
    nothing_was_refused(&ring, &mut [&mut operator]).await
}
