//! Building the programs no Debian package has: Kubernetes, Helm, CoreDNS, h2spec and three small
//! images of our own, from the Go modules under `e2e/cluster/go`.
//!
//! Invariant: a program is rebuilt when, and only when, a file of its module or its build command
//! has changed; concurrent callers wait for one build.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::image;
use crate::{Result, command, error::Context, requirements::Ring};

/// The Kubernetes release that `e2e/cluster/go/go.mod` requires; stamped into the programs, since
/// Helm and kubectl refuse a server that does not tell its version.
pub const KUBERNETES_VERSION: &str = "v1.36.3";

/// The names under which the one Kubernetes binary is started.
const KUBERNETES_PROGRAMS: &[&str] = &[
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
];

/// A cold build on two busy cores stays below this.
const DEADLINE: Duration = Duration::from_secs(45 * 60);

/// The built programs and images.
#[derive(Debug, Clone)]
pub struct Built {
    root: PathBuf,
}

impl Built {
    /// The path of a program: `kube-apiserver`, `kubelet`, `helm`, `coredns`, …
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("bin").join(name)
    }

    /// The machine's kubectl, else ours.
    pub fn kubectl(&self) -> PathBuf {
        command::find("kubectl").unwrap_or_else(|| self.program("kubectl"))
    }

    /// The machine's Helm is not used: its version would differ from machine to machine.
    pub fn helm(&self) -> PathBuf {
        self.program("helm")
    }

    /// The OCI archive of one of our images: `pause`, `whoami`, `origin` or `coredns`.
    pub fn image(&self, name: &str) -> PathBuf {
        self.root.join("images").join(format!("{name}.tar"))
    }
}

/// One program: the module directory, the package in it, and what else its build depends on.
struct Target {
    name: &'static str,
    module: &'static str,
    package: &'static str,
    stamp_version: bool,
    /// Also made into an image of this name.
    image: bool,
}

const fn target(name: &'static str, module: &'static str, package: &'static str) -> Target {
    Target {
        name,
        module,
        package,
        stamp_version: false,
        image: false,
    }
}

const KUBERNETES: Target = Target {
    stamp_version: true,
    ..target("kubernetes", ".", ".")
};
const KUBECTL: Target = Target {
    stamp_version: true,
    ..target("kubectl", ".", "k8s.io/kubernetes/cmd/kubectl")
};
const PAUSE: Target = Target {
    image: true,
    ..target("pause", ".", "./pause")
};
const WHOAMI: Target = Target {
    image: true,
    ..target("whoami", ".", "./whoami")
};
const ORIGIN: Target = Target {
    image: true,
    ..target("origin", "origin", ".")
};
const COREDNS: Target = Target {
    image: true,
    ..target("coredns", "coredns", "github.com/coredns/coredns")
};
const H2SPEC: Target = target("h2spec", "h2spec", "github.com/summerwind/h2spec/cmd/h2spec");
const HELM: Target = target("helm", "helm", "helm.sh/helm/v3/cmd/helm");

fn targets(ring: Ring) -> Vec<Target> {
    let mut list = vec![KUBERNETES, HELM, H2SPEC];
    if command::find("kubectl").is_none() {
        list.push(KUBECTL);
    }
    if ring == Ring::Nodes {
        list.extend([PAUSE, WHOAMI, ORIGIN, COREDNS]);
    }
    list
}

/// Builds what `ring` needs and is not current. Cold, this takes about five minutes on two cores;
/// when all is current, milliseconds.
///
/// # Errors
/// When a build fails; the error holds what Go said.
pub async fn ensure(ring: Ring) -> Result<Built> {
    let built = Built { root: root() };
    for directory in ["bin", "images"] {
        let path = built.root.join(directory);
        fs::create_dir_all(&path).context(|| format!("create {}", path.display()))?;
    }
    let path = built.root.join("lock");
    let lock = File::create(&path).context(|| format!("create {}", path.display()))?;
    // Another process may build for minutes: wait for it off the runtime's threads.
    let waited = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
    let _lock = waited
        .map_err(std::io::Error::other)
        .and_then(|lock| lock)
        .context(|| "wait for another build".to_owned())?;

    for target in targets(ring) {
        let inputs = inputs(&target)?;
        if is_made(&built, &target, &inputs) {
            continue;
        }
        make(&built, &target).await?;
        let stamp = stamp_path(&built, &target);
        fs::write(&stamp, inputs).context(|| format!("write {}", stamp.display()))?;
    }
    for name in KUBERNETES_PROGRAMS {
        let link = built.program(name);
        if fs::read_link(&link).is_err() {
            std::os::unix::fs::symlink("kubernetes", &link).context(|| format!("link {}", link.display()))?;
        }
    }
    Ok(built)
}

/// True when [`ensure`] would build nothing, so that no Go is needed.
pub fn is_current(ring: Ring) -> bool {
    let built = Built { root: root() };
    targets(ring)
        .iter()
        .all(|target| inputs(target).is_ok_and(|inputs| is_made(&built, target, &inputs)))
}

/// The directory everything is built into: `cluster` in Cargo's target directory.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = manifest.parent().unwrap_or(manifest);
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    // Cargo runs tests in the package's directory, so a relative path is not relative to here.
    workspace.join(target).join("cluster")
}

async fn make(built: &Built, target: &Target) -> Result<()> {
    let program = built.program(target.name);
    // A module built with the race detector or C would not be static.
    let mut go = go_build(target);
    go.arg("-o")
        .arg(&program)
        .arg(target.package)
        .current_dir(module(target))
        .env("CGO_ENABLED", "0");
    command::run_within(go, "", DEADLINE).await?;
    if target.image {
        let name = image::own_name(target.name);
        image::from_program(&program, &name, &built.image(target.name)).await?;
    }
    Ok(())
}

fn go_build(target: &Target) -> Command {
    let mut flags = "-s -w".to_owned();
    if target.stamp_version {
        let package = "k8s.io/component-base/version";
        let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        for (name, value) in [
            ("gitVersion", KUBERNETES_VERSION),
            ("gitMajor", major),
            ("gitMinor", minor),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &flags]);
    go
}

fn module(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cluster/go")
        .join(target.module)
}

/// All a target is made from, as one text: the build command and the module's files.
fn inputs(target: &Target) -> Result<String> {
    let directory = module(target);
    let mut text = command::line(&go_build(target));
    let local = target
        .package
        .starts_with('.')
        .then(|| Path::new(target.package).join("main.go"));
    for file in [PathBuf::from("go.mod"), PathBuf::from("go.sum")]
        .into_iter()
        .chain(local)
    {
        let path = directory.join(file);
        let content = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
        text.push_str(&format!("\n--- {}\n{content}", target.package));
    }
    Ok(text)
}

fn is_made(built: &Built, target: &Target, inputs: &str) -> bool {
    built.program(target.name).exists()
        && (!target.image || built.image(target.name).exists())
        && fs::read_to_string(stamp_path(built, target)).is_ok_and(|stamp| stamp == inputs)
}

fn stamp_path(built: &Built, target: &Target) -> PathBuf {
    built.root.join("bin").join(format!(".{}.inputs", target.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamped_version_is_the_one_the_module_requires() {
        let module = fs::read_to_string(module(&KUBERNETES).join("go.mod")).expect("go.mod is there");
        assert!(module.contains(&format!("k8s.io/kubernetes {KUBERNETES_VERSION}\n")));
        let flags = command::line(&go_build(&KUBERNETES));
        assert!(
            flags.contains(".gitMajor=1 ") && flags.ends_with(".gitMinor=36"),
            "{flags}"
        );
    }

    #[test]
    fn inputs_change_with_the_module_files() {
        let text = inputs(&PAUSE).expect("the module is there");
        assert!(
            text.contains("k8s.io/kubernetes") && text.contains("Command pause"),
            "{text}"
        );
        assert!(!inputs(&WHOAMI).expect("the module is there").contains("Command pause"));
    }
}
