//! Reads the files of a directory, within limits.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use breakwater_compile::Severity;
use breakwater_snapshot::ObjectId;

use super::document::{self, Read};
use super::{Diagnostic, FileState, Loaded, yaml};

/// Largest manifest file, bytes.
const LARGEST_FILE: u64 = 8 * 1024 * 1024;

/// Most manifest files of a directory.
const MOST_FILES: usize = 10_000;

/// Most bytes of all manifest files.
const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// Why a directory cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The operating system's reason.
    #[error("the manifests in {} cannot be read: {source}", path.display())]
    Io {
        /// Which directory or file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// More than is read.
    #[error("{} holds more than {MOST_FILES} manifest files: split it", path.display())]
    TooMany {
        /// Which directory.
        path: PathBuf,
    },
}

/// Reads the manifests directly in `dir`, or the one file it names.
///
/// # Errors
/// When the directory cannot be listed. A file that cannot be read or understood is a diagnostic instead.
pub(crate) fn load(dir: &Path) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    let mut left = MOST_BYTES;
    for path in list(dir)? {
        let mut diagnostics = Vec::new();
        let state = match text(&path, &mut left) {
            Ok(text) => parse(&path, &text, &mut diagnostics),
            Err(error) => {
                diagnostics.push(about_file(&path, 0, format!("the file cannot be read: {error}")));
                FileState {
                    unreadable: true,
                    ..FileState::default()
                }
            }
        };
        loaded.diagnostics.append(&mut diagnostics);
        loaded.files.insert(path, state);
    }
    duplicates(&mut loaded);
    Ok(loaded)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let io = |source| LoadError::Io {
        path: dir.to_owned(),
        source,
    };
    if std::fs::metadata(dir).map_err(io)?.is_file() {
        return Ok(vec![dir.to_owned()]);
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let manifest = !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"));
        // Links are followed: a ConfigMap volume is made of them.
        if !manifest || std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        if paths.len() >= MOST_FILES {
            return Err(LoadError::TooMany { path: dir.to_owned() });
        }
        paths.push(entry.path());
    }
    paths.sort();
    Ok(paths)
}

/// Reads a file, and no more than one byte beyond `most`: it may be growing, or no regular file at all.
pub(crate) fn bounded(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn text(path: &Path, left: &mut u64) -> Result<String, String> {
    let bytes = bounded(path, LARGEST_FILE.min(*left))?;
    let size = bytes.len() as u64;
    if size > LARGEST_FILE {
        return Err(format!("it is larger than {LARGEST_FILE} bytes: split it"));
    }
    if size > *left {
        return Err(format!("all manifests together are larger than {MOST_BYTES} bytes"));
    }
    *left -= size;
    String::from_utf8(bytes).map_err(|error| {
        let line = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to())
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        format!("line {line} is not UTF-8")
    })
}

fn parse(path: &Path, text: &str, diagnostics: &mut Vec<Diagnostic>) -> FileState {
    let mut state = FileState::default();
    let documents = match yaml::documents(text.trim_start_matches('\u{feff}')) {
        Ok(documents) => documents,
        Err(fault) => {
            diagnostics.push(about_file(path, fault.line, fault.message));
            state.broken = true;
            return state;
        }
    };
    for node in documents {
        match document::read(node, path, diagnostics) {
            Read::Object(parsed) => state.objects.push(*parsed),
            Read::ConfigMap(map) => state.config_maps.push(map),
            Read::Foreign => {}
            Read::Lost => state.broken = true,
        }
    }
    state
}

/// Tells of every object that is there twice; the first counts.
fn duplicates(loaded: &mut Loaded) {
    let mut first: HashMap<&ObjectId, (&Path, usize)> = HashMap::new();
    let mut found = Vec::new();
    for (path, file) in &loaded.files {
        for parsed in &file.objects {
            let line = parsed.node.line_of("metadata.name");
            let Some((earlier, earlier_line)) = first.get(&parsed.id) else {
                first.insert(&parsed.id, (path, line));
                continue;
            };
            found.push(Diagnostic {
                severity: Severity::Error,
                file: path.clone(),
                line,
                kind: parsed.id.kind.to_string(),
                namespace: parsed.id.namespace.clone(),
                name: parsed.id.name.clone(),
                field: "metadata.name".to_owned(),
                message: format!(
                    "{} is already in {}:{earlier_line}, which counts: rename or remove one",
                    parsed.id,
                    earlier.display()
                ),
            });
        }
    }
    loaded.diagnostics.append(&mut found);
}

fn about_file(path: &Path, line: usize, message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: path.to_owned(),
        line,
        kind: String::new(),
        namespace: String::new(),
        name: String::new(),
        field: String::new(),
        message,
    }
}
