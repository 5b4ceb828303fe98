//! Breakwater: an EdgeCache for each site or route, and a WafPolicy with the Core Rule Set for those that have rules.

use std::fmt::Write;
use std::path::Path;

use super::requests::Site;
use super::server::{Setup, Sites};
use crate::Error;

pub(super) const SETTINGS: &str = "1 worker; cache in memory; `crs: {paranoiaLevel: 1}`, defaults else; responses not inspected; metrics on; --audit-log /dev/null";

pub(super) fn command(setup: &Setup<'_>, program: &Path) -> Result<Vec<String>, Error> {
    write(setup)?;
    let words = [
        &program.display().to_string(),
        "up",
        "-f",
        &setup.path("manifests"),
        "--listen",
        &setup.address.to_string(),
        "--admin",
        &setup.admin.to_string(),
        "--workers",
        "1",
        "--crs-dir",
        &setup.common.rules.directory.display().to_string(),
        "--audit-log",
        "/dev/null",
        // The load is one client.
        "--max-connections-per-client",
        "100000",
    ];
    Ok(words.map(str::to_owned).to_vec())
}

/// The manifests.
pub(super) fn write(setup: &Setup<'_>) -> Result<(), Error> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    match setup.sites {
        Sites::Hosts => {
            for site in Site::ALL {
                cache(&mut text, setup, name(site), site, "/");
            }
            let rule = seclang(setup);
            policy(&mut text, name(Site::Enforce), "Enforce", &rule);
            policy(&mut text, name(Site::Detect), "DetectOnly", &rule);
        }
        Sites::Routes(routes) => {
            for route in 0..routes {
                let name = format!("route{route}");
                cache(&mut text, setup, &name, Site::Enforce, &format!("/r{route}"));
                let own = format!(
                    "    exclusions:\n    - {{rules: {{ids: [942100]}}, targets: [\"ARGS:q{route}\"]}}\n{}",
                    seclang(setup)
                );
                policy(&mut text, &name, "Enforce", &own);
            }
        }
    }
    setup.write("manifests/bench.yaml", &text)
}

const fn name(site: Site) -> &'static str {
    match site {
        Site::Plain => "plain",
        Site::Enforce => "enforce",
        Site::Detect => "detect",
    }
}

fn cache(out: &mut String, setup: &Setup<'_>, name: &str, site: Site, path: &str) {
    // Writing to a String cannot fail.
    let _infallible = write!(
        out,
        "---\napiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: {name}}}\nspec:\n\
         \x20 hostnames: [\"{}\"]\n  paths: [{{type: Prefix, value: {path}}}]\n  origin: {{urls: [\"http://{}\"]}}\n",
        site.host(),
        setup.common.origin
    );
}

/// `crs` is last before `more`, which may go on with it.
fn policy(out: &mut String, name: &str, mode: &str, more: &str) {
    let _infallible = write!(
        out,
        "---\napiVersion: breakwater.dev/v1alpha1\nkind: WafPolicy\nmetadata: {{name: {name}}}\nspec:\n\
         \x20 targetRefs: [{{group: breakwater.dev, kind: EdgeCache, name: {name}}}]\n  mode: {mode}\n\
         \x20 crs:\n    paranoiaLevel: 1\n{more}"
    );
}

fn seclang(setup: &Setup<'_>) -> String {
    format!("  seclang:\n    inline: |-\n      {}\n", setup.own_rule())
}
