//! Nodes with a Core Rule Set of their own: its version in the status of a policy, and what is told where nodes differ.

use std::{fs, path::Path};

use breakwater_e2e::{Result, requirements};
use rustix::process::Signal;

use super::{DEADLINE, SHOP, TwoNodes, nothing_was_refused, two_nodes, wait};

const POLICY: &str = "
apiVersion: breakwater.dev/v1alpha1
kind: WafPolicy
metadata: {name: rules}
spec:
  targetRefs: [{group: breakwater.dev, kind: EdgeCache, name: shop}]
  crs: {}
";

#[tokio::test]
async fn the_version_of_the_core_rule_set_is_in_status_and_nodes_that_differ_are_counted() -> Result<()> {
    if requirements::skipped_by_runner("versions of rules") {
        return Ok(());
    }
    let (old, new) = (rule_set("9.9.8"), rule_set("9.9.9"));
    let arguments = |dir: &Path| ["--crs-dir".to_owned(), dir.display().to_string()];
    let old_arguments = arguments(old.path());
    let TwoNodes {
        ring,
        origin: _origin,
        mut operator,
        mut nodes,
    } = two_nodes(&old_arguments.each_ref().map(String::as_str)).await?;
    ring.kubectl().apply(POLICY).await?;
    wait(&ring, "wafpolicy/rules", "Programmed").await?;
    let table = ring.kubectl().run("get wafp/rules --no-headers").await?;
    let row: Vec<&str> = table.split_whitespace().take(6).collect();
    assert_eq!(row, ["rules", "Enforce", "True", "True", "2/2", "9.9.8"]);
    assert_eq!(nodes[0].get(SHOP, "/?q=attack").await?.status, 403);

    // A node that was updated.
    nodes[1].process().signal(Signal::TERM)?;
    assert!(nodes[1].process().wait_end(DEADLINE).await?.success());
    let new_arguments = arguments(new.path());
    let new_arguments = new_arguments.each_ref().map(String::as_str);
    nodes[1] = ring.data_plane_with(2, operator.address(), &new_arguments)?;
    nodes[1].ready().await?;
    let differs = |policy: &serde_json::Value| {
        let conditions = policy["status"]["conditions"].as_array();
        let programmed = conditions.and_then(|list| list.iter().find(|condition| condition["type"] == "Programmed"));
        let message = programmed.and_then(|condition| condition["message"].as_str());
        policy["status"]["crsVersion"] == "9.9.8, 9.9.9"
            && message.is_some_and(|message| message.ends_with("1 node has 9.9.8, 1 node has 9.9.9"))
    };
    ring.kubectl().wait_for("wafpolicy/rules", DEADLINE, differs).await?;
    nothing_was_refused(&ring, &mut [&mut operator]).await
}

/// A Core Rule Set of one rule.
fn rule_set(version: &str) -> tempfile::TempDir {
    let rule = r#"SecRule ARGS "@streq attack" "id:942100,phase:1,deny,status:403""#;
    let text = format!("SecComponentSignature \"OWASP_CRS/{version}\"\n{rule}\n");
    let dir = tempfile::tempdir().expect("a directory can be made");
    fs::create_dir(dir.path().join("rules"))
        .and_then(|()| fs::write(dir.path().join("rules/a.conf"), text))
        .expect("it can be written");
    dir
}
