//! What is installed: the image archive that `image/build` writes, the charts, the examples.
//!
//! Invariant: an archive older than the program's sources is refused, so that no test passes on
//! yesterday's program.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{Error, Result, breakwater, error::Context};

/// The image's name in the archive, and the charts' default.
pub const IMAGE: &str = "localhost/breakwater:dev";

/// An archive made elsewhere, of any age, instead of `target/image/breakwater.tar`.
pub const ARCHIVE_VARIABLE: &str = "BREAKWATER_IMAGE_ARCHIVE";

/// What makes an archive.
const COMMAND: &str = "PROFILE=fast image/build";

/// What the program is made from. Of directories, only `.rs` and `.toml` files count.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "crds",
    "operator",
    "dataplane",
    "image",
];

/// A file or directory of the repository, by its path in it.
pub fn file(path: &str) -> PathBuf {
    breakwater::root().join(path)
}

/// The OCI archive with [`IMAGE`].
///
/// # Errors
/// When it is missing or older than a source file; the error tells the command that makes it.
pub fn archive() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(ARCHIVE_VARIABLE) {
        return Ok(PathBuf::from(path));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let archive = breakwater::root().join(target).join("image/breakwater.tar");
    let sources: Vec<PathBuf> = SOURCES.iter().map(|source| file(source)).collect();
    check_age(&archive, &sources).map(|()| archive)
}

fn check_age(archive: &Path, sources: &[PathBuf]) -> Result<()> {
    let Ok(made) = modified(archive) else {
        return Err(Error::Invalid(format!(
            "{} is missing; make it with: {COMMAND}",
            archive.display()
        )));
    };
    for source in sources {
        if let Some(newer) = newer_than(source, made)? {
            let (archive, newer) = (archive.display(), newer.display());
            return Err(Error::Invalid(format!(
                "{archive} is older than {newer}; make it again with: {COMMAND}"
            )));
        }
    }
    Ok(())
}

/// A source file at or below `path` that changed after `made`, if there is one. Tests are no part
/// of the program.
fn newer_than(path: &Path, made: SystemTime) -> Result<Option<PathBuf>> {
    if path.is_file() {
        return Ok((modified(path)? > made).then(|| path.to_owned()));
    }
    let context = || format!("read {}", path.display());
    for entry in fs::read_dir(path).context(context)? {
        let path = entry.context(context)?.path();
        let kind = path.extension().unwrap_or_default();
        let counts = match path.is_dir() {
            true => path.file_name().is_none_or(|name| name != "tests"),
            false => kind == "rs" || kind == "toml",
        };
        if counts && let Some(newer) = newer_than(&path, made)? {
            return Ok(Some(newer));
        }
    }
    Ok(None)
}

fn modified(path: &Path) -> Result<SystemTime> {
    path.metadata()
        .and_then(|meta| meta.modified())
        .context(|| format!("look at {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(path: &Path, age: Duration) {
        fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        let file = fs::File::create(path).expect("it can be made");
        let time = SystemTime::now() - age;
        file.set_modified(time).expect("the file is ours");
    }

    #[test]
    fn an_archive_that_is_missing_or_older_than_a_source_is_refused_with_the_command() {
        let root = tempfile::tempdir().expect("it can be made");
        let (archive, sources) = (root.path().join("breakwater.tar"), [root.path().join("crate")]);
        let source = sources[0].join("src/main.rs");
        write(&source, Duration::from_secs(100));
        let missing = check_age(&archive, &sources).expect_err("there is none").to_string();
        assert!(missing.ends_with(COMMAND), "{missing}");

        write(&archive, Duration::from_secs(50));
        // Neither is compiled into the program.
        write(&sources[0].join("notes.md"), Duration::ZERO);
        write(&sources[0].join("tests/more.rs"), Duration::ZERO);
        check_age(&archive, &sources).expect("it is newer than the source");

        write(&source, Duration::ZERO);
        let old = check_age(&archive, &sources).expect_err("it is older").to_string();
        assert!(old.contains("main.rs") && old.ends_with(COMMAND), "{old}");
    }
}
