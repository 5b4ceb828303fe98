//! The proof that what is about to be measured is a cache hit with the right bytes.

use crate::Error;
use crate::certificate::Certificate;
use crate::client::Client;
use crate::origin::{self, Origin};
use crate::peer::Protocol;
use crate::server::Server;

/// How often the warm-up asks before it gives up on a hit.
const ATTEMPTS: u32 = 20;

/// Asks `server` for `path` over `protocol` until the origin is no longer asked, then proves a hit: status 200, the
/// origin's bytes, the origin not asked again, and the word for a hit where the server has one.
///
/// # Errors
/// When it does not speak the protocol, or [`Error::Wrong`] with the first difference.
pub fn prove_hit(
    server: &Server,
    protocol: Protocol,
    certificate: &Certificate,
    origin: &Origin,
    path: &str,
    size: usize,
) -> Result<(), Error> {
    let wrong = |why: String| Error::Wrong {
        server: server.name.to_owned(),
        path: path.to_owned(),
        why,
    };
    let address = server.address(protocol).map_err(|why| wrong(why.to_owned()))?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let before = origin.seen(path);
        let answer = Client::open(protocol, address, certificate)?.ask(path)?;
        if answer.status != 200 {
            return Err(wrong(format!("status {}", answer.status)));
        }
        if answer.body != origin::body(size) {
            return Err(wrong("the body differs from the origin's".to_owned()));
        }
        let asked = origin.seen(path) - before;
        // Fields of HTTP/2 are not read here.
        let word = server.kind.hit().filter(|_| protocol != Protocol::Http2);
        let said = word.map(|(name, word)| (name, word, answer.field(name).unwrap_or("").to_owned()));
        let says_hit = said.as_ref().is_none_or(|(_, word, value)| value.starts_with(word));
        if asked == 0 && says_hit {
            // The floor has no origin behind it; everything else must have asked at least once.
            if server.kind.caches() && origin.seen(path) == 0 {
                return Err(wrong(
                    "the origin never saw a request, so this is not its object".to_owned(),
                ));
            }
            return Ok(());
        }
        last = Some((asked, said));
    }
    Err(wrong(format!(
        "no hit after {ATTEMPTS} requests; the last one: {last:?}"
    )))
}
