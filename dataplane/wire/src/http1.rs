//! The HTTP/1.1 codec (RFC 9112), which is also the gate: what it accepts can be framed in one way only.
//!
//! Invariant: a head that parses has CRLF line ends, one framing and one authority; bytes that two
//! implementations could read differently are an error, never a guess. Heads are borrowed from the read
//! buffer; only [`RequestHead::to_owned`] and [`ResponseHead::to_owned`] allocate. Sockets, deadlines and
//! body size limits belong to the caller.

pub mod body;
pub mod encode;
pub mod error;
pub mod fields;
pub mod host;
pub mod limits;
pub mod request;
pub mod response;
pub mod trailers;

pub use body::{BodyDecoder, BodyError, Decoded};
pub use encode::{DateCache, EncodeError};
pub use error::{GateError, GateErrorKind};
pub use fields::Fields;
pub use host::Host;
pub use limits::Limits;
pub use request::{Framing, OwnedRequest, Parsed, RequestHead, TargetForm, Version, parse_request};
pub use response::{OwnedResponse, ResponseError, ResponseFraming, ResponseHead, parse_response};
pub use trailers::Trailers;
