//! TLS as another implementation sees it: openssl makes an OCSP response, and reads it off a handshake.

use std::{path::Path, process::Command};

use base64::Engine as _;
use breakwater_e2e::{
    Result,
    breakwater::{self, Site, Up},
    command,
    origin::{self, Reply},
};

/// Runs openssl in `dir`; what it prints, on both outputs.
async fn openssl(dir: &Path, line: &str, more: &[&str]) -> Result<String> {
    let mut command = Command::new("openssl");
    command.current_dir(dir).args(line.split_whitespace()).args(more);
    let output = command::output(command, "", command::DEADLINE).await?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "openssl {line}: {text}");
    Ok(text)
}

#[tokio::test]
async fn an_ocsp_response_in_the_secret_is_stapled_and_openssl_reads_it() -> Result<()> {
    let origin = origin::start(|_, _| Reply::text("no-store", "passed")).await?;
    let site = Site::new(&[])?;
    let dir = site.path("authority");
    std::fs::create_dir(&dir).expect("a directory can be made");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        &dir,
        &format!("req -x509 {key} -days 2 -keyout ca.key -out ca.crt -subj"),
        &["/CN=An authority"],
    )
    .await?;
    let names = "-subj /CN=site.test -addext subjectAltName=DNS:site.test";
    openssl(&dir, &format!("req {key} {names} -keyout tls.key -out tls.csr"), &[]).await?;
    let sign = "x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -days 2 -copy_extensions copy -out tls.crt";
    openssl(&dir, sign, &[]).await?;
    let serial = openssl(&dir, "x509 -in tls.crt -noout -serial", &[]).await?;
    let serial = serial.trim().trim_start_matches("serial=").to_owned();
    // What the authority knows: the certificate is valid.
    let index = format!("V\t491231000000Z\t\t{serial}\tunknown\t/CN=site.test\n");
    std::fs::write(dir.join("index.txt"), index).expect("it can be written");
    let ask = "ocsp -issuer ca.crt -cert tls.crt -no_nonce -reqout request.der";
    openssl(&dir, ask, &[]).await?;
    let answer =
        "ocsp -index index.txt -CA ca.crt -rsigner ca.crt -rkey ca.key -reqin request.der -ndays 1 -respout staple.der";
    openssl(&dir, answer, &[]).await?;

    let base64 = |name: &str| {
        let bytes = std::fs::read(dir.join(name)).expect("openssl has written it");
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let manifest = |staple: &str| {
        let (certificate, key) = (base64("tls.crt"), base64("tls.key"));
        let data = format!("data:\n  tls.crt: {certificate}\n  tls.key: {key}\n{staple}");
        breakwater::tls_site(origin, &data)
    };
    site.write(
        "site.yaml",
        &manifest(&format!("  tls.ocsp-staple: {}\n", base64("staple.der"))),
    )?;
    let mut up = site.up(["--listen-tls", "127.0.0.1:0"]).await?;
    for version in ["-tls1_2", "-tls1_3"] {
        let seen = handshake(&up, &dir, version).await?;
        for part in [
            "OCSP Response Status: successful",
            "Cert Status: good",
            serial.as_str(),
            "Verify return code: 0 (ok)",
        ] {
            assert!(seen.contains(part), "{version}: {part} is missing:\n{seen}");
        }
    }
    // Without one in the Secret, clients that ask are told nothing.
    let digest = up.digest().await?;
    site.write("site.yaml", &manifest(""))?;
    breakwater_e2e::wait::until("the reload", breakwater::DEADLINE, async || match up.digest().await {
        Ok(now) if now != digest => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    let seen = handshake(&up, &dir, "-tls1_3").await?;
    assert!(seen.contains("OCSP response: no response sent"), "{seen}");
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_certificate_in_files_is_served_and_renewed_without_a_restart() -> Result<()> {
    let origin = origin::start(|_, _| Reply::text("no-store", "passed")).await?;
    let site = Site::new(&[])?;
    let dir = site.path("live");
    std::fs::create_dir(&dir).expect("a directory can be made");
    let issue = async |number: &str| {
        let key = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=site.test";
        let names = "-addext subjectAltName=DNS:site.test -keyout new.key -out new.crt -set_serial";
        openssl(&dir, &format!("{key} {names}"), &[number]).await?;
        // As ACME clients do: what is there is replaced whole.
        for name in ["key", "crt"] {
            std::fs::rename(dir.join(format!("new.{name}")), dir.join(format!("tls.{name}"))).expect("it can be moved");
        }
        Ok::<_, breakwater_e2e::Error>(())
    };
    issue("41").await?;
    site.write(
        "site.yaml",
        &format!(
            "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: site}}\nspec:\n  \
             hostnames: [site.test]\n  tls: {{secretName: site-tls}}\n  origin: {{urls: [\"http://{origin}\"]}}\n"
        ),
    )?;
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| dir.join(name).display().to_string());
    let secret = format!("site-tls={certificate},{key}");
    let mut up = site
        .up(["--listen-tls", "127.0.0.1:0", "--tls-secret", &secret])
        .await?;
    let address = up.front_tls.expect("it listens with TLS").to_string();
    let serial = async || {
        let seen = openssl(&dir, "s_client -servername site.test -connect", &[&address]).await?;
        let pem = seen.split("-----").skip(1).take(3).collect::<Vec<_>>().join("-----");
        std::fs::write(dir.join("seen.pem"), format!("-----{pem}-----\n")).expect("it can be written");
        openssl(&dir, "x509 -noout -serial -in seen.pem", &[]).await
    };
    assert_eq!(serial().await?.trim(), "serial=29");
    issue("42").await?;
    breakwater_e2e::wait::until("the new certificate", breakwater::DEADLINE, async || {
        match serial().await {
            Ok(serial) if serial.trim() == "serial=2A" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

async fn handshake(up: &Up, dir: &Path, version: &str) -> Result<String> {
    let address = up.front_tls.expect("it listens with TLS").to_string();
    let client = "s_client -status -servername site.test -CAfile ca.crt -verify_return_error -connect";
    openssl(dir, client, &[&address, version]).await
}
