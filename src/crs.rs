//! The Core Rule Set of this machine, for commands that say something of rules.

use std::path::PathBuf;
use std::sync::Arc;

use breakwater_dataplane::crs_dir;
use breakwater_waf::bundle::Crs;
use breakwater_waf::catalog::Catalog;

use crate::exit::Failure;

/// That of a directory that was named, or else of the one `up` would use, if it can be read.
pub(crate) fn read_crs(given: Option<PathBuf>) -> Result<Option<Arc<Crs>>, Failure> {
    let must = given.is_some();
    let Some(dir) = crs_dir(given) else { return Ok(None) };
    match breakwater_dataplane::read_crs(&dir) {
        Ok(crs) => Ok(Some(Arc::new(crs))),
        Err(error) if must => Err(Failure::environment(error.to_string(), "name another with --crs-dir")),
        Err(_) => Ok(None),
    }
}

/// Its rules, as the compile step looks at them.
pub(crate) fn catalog(crs: Option<Arc<Crs>>) -> Option<Arc<Catalog>> {
    crs.map(|crs| Arc::new(Catalog::of_crs(crs)))
}
