//! A WebSocket relay: two sockets in, one small future out.
//!
//! After the opening handshake (judged by [`breakwater_wire::websocket::handshake`], re-exported here as
//! [`handshake`]) a [`Relay`] owns the client's and the backend's socket until both are done. It follows the
//! frames both ways by their headers, holds sizes, rate, silence and lifetime to their limits, and says
//! goodbye with a close frame, at a frame boundary, to both sides.
//!
//! ```no_run
//! use std::rc::Rc;
//! use breakwater_websocket::{Cause, Drain, Order, Relay, Session, Settings, SharedBuffer, Wheel, Worker};
//!
//! # async fn example(client: tokio::net::TcpStream, backend: tokio::net::TcpStream, clock: impl Fn() -> u64 + 'static) {
//! // Once per worker thread:
//! let worker = Worker::new(SharedBuffer::new(64 * 1024), Wheel::new(250), clock);
//! // Once per route:
//! let settings = Rc::new(Settings::default());
//! let drain = Drain::default();
//! // Once per connection, in a task of its own:
//! let relay = Relay::new(client, backend, Session::new(&worker, &settings, &drain));
//! // The worker calls this every 250 ms or so; it wakes the relays whose time has come:
//! worker.wheel().tick(worker.now_ms());
//! // To close all connections of this group, spread over 30 seconds:
//! drain.begin(Order { cause: Cause::RouteDeleted, from_ms: worker.now_ms(), spread_ms: 30_000, phase: 7 });
//! worker.wheel().wake_all();
//! let closed = relay.await;
//! # drop(closed);
//! # }
//! ```
//!
//! What it costs: bytes pass through one buffer that all relays of a worker share; a relay owns bytes only
//! while the other side does not take them, and then stops reading, so that the most it ever holds is one
//! buffer's content for each direction plus a close frame. There is no timer per connection.
//!
//! Left to others: the handshake's sockets and timeouts, the number of connections, and what the
//! messages say.

mod buffer;
mod closed;
mod counters;
mod drain;
mod rate;
mod relay;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
pub mod timers;
mod worker;

pub use breakwater_wire::websocket::{code, frame, handshake};

pub use buffer::SharedBuffer;
pub use closed::{Closed, Reason};
pub use counters::{Counters, RoundTrips};
pub use drain::{Cause, Drain, Order};
pub use relay::{Keepalive, Relay, Session, Side};
pub use settings::{Settings, Sizes};
pub use timers::Wheel;
pub use worker::{Clock, Worker};
