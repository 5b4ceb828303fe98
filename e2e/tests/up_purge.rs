//! `breakwater purge` and `breakwater cache`, asked of an `up`: what they print, and how they end.

use breakwater_e2e::{
    Result,
    breakwater::{self, Site},
    origin::{self, Reply},
};
use serde_json::Value;

async fn run(words: &[&str]) -> Result<(Option<i32>, String, String)> {
    let ended = breakwater::run(words).await?;
    Ok((ended.code, ended.stdout, ended.stderr))
}

#[tokio::test]
async fn what_is_stored_is_shown_purged_and_shown_as_gone() -> Result<()> {
    let origin = origin::start(|_, _| Reply::text("max-age=60", "stored")).await?;
    let manifest = format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: shop}}\nspec:\n  hostnames: [shop.test]\n  origin: {{urls: ['http://{origin}']}}\n  cache: {{key: {{devices: [Mobile]}}}}\n"
    );
    let site = Site::new(&[("shop.yaml", &manifest)])?;
    let mut up = site.up::<&str>([]).await?;
    up.get("shop.test", "/a/b", "").await?;
    let hit = up.get("shop.test", "/a/b", "").await?;
    assert!(hit.header("cache-status").contains("hit"));
    let admin = up.admin.to_string();
    let inspect = ["cache", "inspect", "http://shop.test/a/b", "--admin", &admin];
    let (code, shown, _) = run(&inspect).await?;
    assert_eq!(code, Some(0));
    for part in [
        "default/shop",
        "http://shop.test:80/a/b",
        "ram, status 200, fresh",
        "6 bytes, this request's",
        "device: desktop",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Another device's key is another one, and `explain` says the same.
    let phone = [
        "-H",
        "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)",
    ];
    let (_, shown, _) = run(&[&inspect[..], &phone].concat()).await?;
    assert!(shown.contains("device: mobile") && shown.contains("nothing"), "{shown}");
    let manifests = site.manifests().display().to_string();
    let explain = ["explain", "-f", &manifests, "http://shop.test/a/b"];
    for (more, class) in [(&[][..], "desktop"), (&phone[..], "mobile")] {
        let (code, said, _) = run(&[&explain[..], more].concat()).await?;
        assert_eq!(code, Some(0));
        let shown = said.lines().find(|line| line.contains("key device"));
        assert!(shown.is_some_and(|line| line.ends_with(class)), "{class}: {said}");
    }
    let (code, told, _) = run(&["purge", "--prefix", "shop.test/a", "--admin", &admin]).await?;
    assert_eq!(
        (code, told),
        (Some(0), format!("{admin}: EdgeCache default/shop: 1 mark, Hard\n"))
    );
    let (_, json, _) = run(&[&inspect[..], &["-o", "json"]].concat()).await?;
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json["variants"][0]["purged"], "hard");
    assert!(
        !up.get("shop.test", "/a/b", "")
            .await?
            .header("cache-status")
            .contains("hit")
    );
    let (code, stats, _) = run(&["cache", "stats", "--admin", &admin]).await?;
    assert_eq!(code, Some(0));
    assert!(stats.contains("hits 33.3 %, by bytes 33.3 %"), "{stats}");
    up.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_refused_purge_exits_with_1_and_a_node_that_is_not_there_with_2() -> Result<()> {
    let site = Site::new(&[])?;
    let mut up = site.up::<&str>([]).await?;
    let admin = up.admin.to_string();
    let (code, out, error) = run(&["purge", "--url", "http://shop.test/", "--admin", &admin]).await?;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        error.starts_with("error: ") && error.contains("no EdgeCache on this node serves the host shop.test"),
        "{error}"
    );
    let (code, _, error) = run(&["cache", "inspect", "/a", "--admin", &admin]).await?;
    assert_eq!(code, Some(1));
    assert!(error.contains("not an absolute URL"), "{error}");
    up.stop().await?;
    let (code, _, error) = run(&["purge", "--host", "a", "--everything", "--admin", &admin]).await?;
    assert_eq!(code, Some(2));
    assert!(
        error.contains("cannot be asked") && error.contains("is a node running there?"),
        "{error}"
    );
    assert_eq!(
        run(&["purge", "--admin", &admin]).await?.0,
        Some(2),
        "nothing says what"
    );
    Ok(())
}

#[tokio::test]
async fn a_dry_run_prints_a_manifest_that_passes_check() -> Result<()> {
    let purge = [
        "purge",
        "--edge-cache",
        "default/shop",
        "--tag",
        "a\"b",
        "--tag",
        "c",
        "--soft",
        "--dry-run",
    ];
    let (code, manifest, _) = run(&purge).await?;
    assert_eq!(code, Some(0));
    let shop = "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {name: shop}\nspec: {hostnames: [shop.test], origin: {urls: ['http://127.0.0.1:1']}}\n";
    let site = Site::new(&[("shop.yaml", shop), ("purge.yaml", &manifest)])?;
    let directory = site.manifests();
    let checked = breakwater::run(["check".as_ref(), "-f".as_ref(), directory.as_os_str()]).await?;
    assert_eq!(checked.code, Some(0), "{checked:?}\n{manifest}");
    Ok(())
}
