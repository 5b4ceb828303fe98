//! Own rules beside the Core Rule Set: what is wrong there, and what they do to it.
//!
//! To go through the Core Rule Set takes longer than all else that is done for a policy. So it is done once for each text,
//! and what was found is remembered with a [`Memo`](crate::Memo): it changes no output, only the time.

use std::collections::HashMap;
use std::sync::Arc;

use breakwater_snapshot::Digest;
use breakwater_snapshot::unit::SecLangSource;
use breakwater_waf::bundle::{self, Crs, Mistake, Own};

/// What there is to say of some text: warnings, or mistakes.
type Found = Arc<Result<Vec<Mistake>, Vec<Mistake>>>;

/// What earlier compilations found. Holds nothing that the last one did not need.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The Core Rule Set it was found with.
    crs: Option<Arc<Crs>>,
    found: HashMap<Digest, Found>,
    linked: u64,
}

impl Known {
    pub(crate) const fn linked(&self) -> u64 {
        self.linked
    }
}

/// What is found in this compilation.
pub(crate) struct Links<'m> {
    known: &'m mut Known,
    used: HashMap<Digest, Found>,
}

impl<'m> Links<'m> {
    pub(crate) fn new(known: &'m mut Known) -> Self {
        Self {
            known,
            used: HashMap::new(),
        }
    }

    /// What there is to say of own rules, which were read from `sources`, beside the Core Rule Set.
    pub(crate) fn link(
        &mut self,
        crs: &Arc<Crs>,
        sources: &[SecLangSource],
        own: &Own,
    ) -> &Result<Vec<Mistake>, Vec<Mistake>> {
        if !self.known.crs.as_ref().is_some_and(|known| Arc::ptr_eq(known, crs)) {
            self.known.found.clear();
            self.used.clear();
            self.known.crs = Some(crs.clone());
        }
        let texts = sources.iter().flat_map(|source| [&source.name, &source.text]);
        // With their lengths, so that no two lists of texts are the same bytes.
        let content: Vec<u8> = texts
            .flat_map(|text| text.len().to_le_bytes().into_iter().chain(text.bytes()))
            .collect();
        let known = &mut *self.known;
        let digest = Digest::of(&content);
        self.used
            .entry(digest)
            .or_insert_with(|| match known.found.remove(&digest) {
                Some(found) => found,
                None => {
                    known.linked += 1;
                    Arc::new(bundle::link(crs, own))
                }
            })
    }
}

impl Drop for Links<'_> {
    fn drop(&mut self) {
        self.known.found = std::mem::take(&mut self.used);
    }
}
