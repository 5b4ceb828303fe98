//! Images without a registry: built by buildah into OCI archives, imported into each node's
//! containerd. Pods that use them say `imagePullPolicy: Never`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, Result, command, error::Context};

/// The reference under which one of this crate's own images (`pause`, `whoami`, `coredns`) is
/// imported.
pub fn own_name(image: &str) -> String {
    format!("localhost/breakwater-e2e/{image}:1")
}

/// Makes an image that holds one static program, at `/program`, and runs it.
///
/// # Errors
/// As [`from_containerfile`].
pub async fn from_program(program: &Path, name: &str, archive: &Path) -> Result<()> {
    let scratch = Scratch::beside(archive)?;
    let context = scratch.0.join("context");
    fs::create_dir_all(&context)
        .and_then(|()| fs::copy(program, context.join("program")))
        .and_then(|_| {
            let text = "FROM scratch\nCOPY program /program\nENTRYPOINT [\"/program\"]\n";
            fs::write(context.join("Containerfile"), text)
        })
        .context(|| format!("copy {} into a build context", program.display()))?;
    build(&scratch, &context, &context.join("Containerfile"), name, archive).await
}

/// Builds `containerfile` with the files of `context` and writes the image, named `name`, to the
/// OCI archive `archive`. Nothing is pulled: the file starts `FROM scratch`.
///
/// # Errors
/// When buildah fails; the error holds what it said.
pub async fn from_containerfile(context: &Path, containerfile: &Path, name: &str, archive: &Path) -> Result<()> {
    build(&Scratch::beside(archive)?, context, containerfile, name, archive).await
}

async fn build(scratch: &Scratch, context: &Path, containerfile: &Path, name: &str, archive: &Path) -> Result<()> {
    let mut bud = scratch.buildah();
    bud.args(["bud", "--isolation", "chroot", "--pull-never", "--tag", name, "--file"]);
    bud.arg(containerfile).arg(context);
    command::run(bud).await?;

    // Written beside and renamed, so that an archive that exists is whole.
    let partial = scratch.0.join("archive.tar");
    let mut push = scratch.buildah();
    push.args([
        "push",
        "--quiet",
        name,
        &format!("oci-archive:{}:{name}", partial.display()),
    ]);
    command::run(push).await?;
    fs::rename(&partial, archive).context(|| format!("write {}", archive.display()))
}

/// A directory for buildah's layers, removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(archive: &Path) -> Result<Self> {
        let file = archive
            .file_name()
            .ok_or_else(|| Error::Invalid(format!("{} is no file name for an image archive", archive.display())))?;
        let mut name = file.to_owned();
        name.push(format!(".{}.build", std::process::id()));
        let path = archive.with_file_name(name);
        fs::create_dir_all(&path).context(|| format!("create {}", path.display()))?;
        // buildah names its storage in mounts, which need absolute paths.
        path.canonicalize()
            .map(Self)
            .context(|| format!("resolve {}", path.display()))
    }

    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs"]);
        command
            .arg("--root")
            .arg(self.0.join("storage"))
            .arg("--runroot")
            .arg(self.0.join("run"));
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A remainder in the target directory harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
