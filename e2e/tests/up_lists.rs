//! Lists of addresses behind URLs in `breakwater up`: in force before anything is served, kept over a restart, and closed where
//! there never was one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use breakwater_e2e::{
    Result,
    breakwater::{Site, Up},
    origin::{self, Reply},
};

struct Lists {
    url: String,
    away: Arc<AtomicBool>,
}

/// A server of lists: `/here` names this machine, `/elsewhere` does not.
async fn lists() -> Result<Lists> {
    let away = Arc::new(AtomicBool::new(false));
    let is_away = Arc::clone(&away);
    let address = origin::start(move |_, target| match (is_away.load(Ordering::SeqCst), target) {
        (false, "/here") => Reply::text("no-store", "127.0.0.0/8 # here\n"),
        (false, "/elsewhere") => Reply::text("no-store", "203.0.113.0/24\n198.51.100.7\n"),
        (false, "/moved?token=hunter2") => Reply::Bytes(
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
        _ => Reply::Bytes(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec()),
    })
    .await?;
    Ok(Lists {
        url: format!("http://{address}"),
        away,
    })
}

async fn site(list: &str) -> Result<Site> {
    let origin = origin::start(|_, _| Reply::text("no-store", "hello")).await?;
    let shop = format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {{name: shop}}
spec: {{hostnames: [shop.test], origin: {{urls: [\"http://{origin}\"]}}}}
"
    );
    Site::new(&[("shop.yaml", &shop), ("policy.yaml", &policy(list))])
}

fn policy(list: &str) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: WafPolicy
metadata: {{name: lists}}
spec:
  targetRefs: [{{kind: EdgeCache, name: shop}}]
  addresses: {{denyFrom: [{{url: \"{list}\"}}]}}
"
    )
}

async fn up(site: &Site, state: bool) -> Result<Up> {
    let state_dir = site.path("state").display().to_string();
    let arguments = match state {
        true => vec!["--state-dir", &state_dir],
        false => Vec::new(),
    };
    site.up(arguments).await
}

fn said(site: &Site) -> String {
    std::fs::read_to_string(site.path("breakwater.log")).unwrap_or_default()
}

#[tokio::test]
async fn a_list_is_in_force_from_the_first_request_and_another_one_at_once() -> Result<()> {
    let lists = lists().await?;
    let site = site(&format!("{}/here", lists.url)).await?;
    let up = up(&site, false).await?;
    assert_eq!(up.get("shop.test", "/", "").await?.status, 403);
    site.write("policy.yaml", &policy(&format!("{}/elsewhere", lists.url)))?;
    up.wait_status("shop.test", "/", "", 200).await?;
    let entries = up.metrics().await?.sum("breakwater_address_list_entries{");
    assert!((entries - 2.0).abs() < f64::EPSILON, "{entries}");
    // One that cannot be fetched leaves the policy as it was, and says why.
    site.write("policy.yaml", &policy(&format!("{}/moved?token=hunter2", lists.url)))?;
    up.wait_metric("breakwater_snapshot_rejected_objects", |rejected| rejected > 0.0)
        .await?;
    assert_eq!(up.get("shop.test", "/", "").await?.status, 200);
    let said = said(&site);
    assert!(
        said.contains("169.254.169.254 is at an address from which nothing is fetched"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_list_of_an_earlier_run_is_in_force_while_its_server_is_away() -> Result<()> {
    let lists = lists().await?;
    let site = site(&format!("{}/here", lists.url)).await?;
    let mut first = up(&site, true).await?;
    assert_eq!(first.get("shop.test", "/", "").await?.status, 403);
    first.stop().await?;
    lists.away.store(true, Ordering::SeqCst);
    // What nodes keep of configuration is not what this is about.
    for entry in std::fs::read_dir(site.path("state")).expect("there is a state directory") {
        let path = entry.expect("it can be read").path();
        if path.is_file() {
            std::fs::remove_file(path).expect("it can be removed");
        }
    }
    let second = up(&site, true).await?;
    assert_eq!(second.get("shop.test", "/", "").await?.status, 403);
    Ok(())
}

#[tokio::test]
async fn a_policy_whose_list_was_never_fetched_fails_closed() -> Result<()> {
    let lists = lists().await?;
    lists.away.store(true, Ordering::SeqCst);
    let site = site(&format!("{}/elsewhere", lists.url)).await?;
    let up = up(&site, false).await?;
    assert_eq!(up.get("shop.test", "/", "").await?.status, 503);
    let said = said(&site);
    assert!(
        said.contains("was never fetched, and cannot be fetched since") && said.contains("status 500"),
        "{said}"
    );
    site.remove("policy.yaml")?;
    up.wait_status("shop.test", "/", "", 200).await?;
    Ok(())
}
