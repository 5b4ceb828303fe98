//! Where clients are, by databases in MaxMind's format (mmdb) that whoever runs the node gives.
//!
//! A database is read into memory as a whole, checked as a whole, and read again when its file changes (`files`). Workers
//! are given both databases by message, so a question takes no lock. Invariant: a file that cannot be used never takes the
//! place of one that can.
//!
//! Which files there are does not change while the process lives: a policy that asks for one that is not there is rejected
//! when it is built.

mod database;
mod files;
#[cfg(feature = "testing")]
pub mod testing;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use breakwater_waf::geo::{Country, Locate};

use crate::GeoError;
use database::{Database, Kind};
pub(crate) use files::{DatabaseState, Files};

/// The databases of a node.
#[derive(Debug, Default)]
pub struct Locations {
    countries: Option<Arc<Database>>,
    asns: Option<Arc<Database>>,
}

/// Which databases a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) countries: bool,
    pub(crate) asns: bool,
}

impl Locations {
    /// Reads the database of countries and that of autonomous systems, as far as they are given.
    ///
    /// # Errors
    /// When one cannot be read, or is none of its kind.
    pub fn open(countries: Option<&Path>, asns: Option<&Path>) -> Result<Self, GeoError> {
        let open = |path: Option<&Path>, kind| {
            path.map(|path| Database::read(kind, path).map(|(database, _)| Arc::new(database)))
                .transpose()
        };
        Ok(Self {
            countries: open(countries, Kind::Countries)?,
            asns: open(asns, Kind::Asns)?,
        })
    }

    /// Which of them there are.
    pub(crate) const fn known(&self) -> Known {
        Known {
            countries: self.countries.is_some(),
            asns: self.asns.is_some(),
        }
    }
}

impl Locate for Locations {
    fn country(&self, address: IpAddr) -> Option<Country> {
        self.countries.as_ref()?.country(address)
    }

    fn asn(&self, address: IpAddr) -> Option<u32> {
        self.asns.as_ref()?.asn(address)
    }

    fn describe(&self, address: IpAddr, tell: &mut dyn FnMut(&'static str, &str)) -> bool {
        self.countries
            .as_ref()
            .is_some_and(|countries| countries.describe(address, tell))
    }
}
