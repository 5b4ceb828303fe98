//! Idle connections: what a server's resident memory grows by for each that made one request and then stays.
//!
//! Invariant: every connection is still open when the second reading is taken.

use crate::certificate::Certificate;
use crate::client::Client;
use crate::peer::Protocol;
use crate::server::Server;
use crate::{Error, account};

/// Idle connections opened before the first reading, so that what a server allocates once is not charged to them.
const WARM: usize = 256;

/// Resident bytes the server keeps for each of `count` connections of `protocol`.
///
/// # Errors
/// When a connection or its one request fails, or the server closed one, or is gone.
pub fn measure(
    server: &Server,
    protocol: Protocol,
    certificate: &Certificate,
    path: &str,
    count: usize,
) -> Result<f64, Error> {
    let failed = |why: String| Error::Server {
        server: server.name.to_owned(),
        why,
    };
    let address = server.address(protocol).map_err(|why| failed(why.to_owned()))?;
    let visit = || -> Result<Client, Error> {
        let mut client = Client::open(protocol, address, certificate)?;
        client.ask(path)?;
        Ok(client)
    };
    let mut open = Vec::with_capacity(WARM + count);
    for _ in 0..WARM {
        open.push(visit()?);
    }
    let before = account::resident(server.pid())?;
    for _ in 0..count {
        open.push(visit()?);
    }
    let after = account::resident(server.pid())?;
    // A connection the server closed meanwhile would make the figure look better than it is.
    let closed = open.iter().filter(|client| client.is_closed()).count();
    if closed > 0 {
        return Err(failed(format!(
            "{closed} of {} idle connections were closed by the server",
            open.len()
        )));
    }
    Ok((after as f64 - before as f64) / count as f64)
}
