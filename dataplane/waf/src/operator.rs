//! Tests of bytes behind SecLang's operators, as ModSecurity 3 makes them; where its C slips, the module says so.
//!
//! Plain functions: no rule, no macro, no negation. Invariants: time is linear in the value and what it is compared
//! with; nothing panics.
//!
//! Left to the engine: `@rx`, macros in arguments, which values are tested.

mod encoding;
mod numbers;
mod phrases;
mod range;
mod words;

pub use encoding::{Utf8Fault, is_url_encoded, utf8_fault};
pub use numbers::{is_card_number, is_cpf, is_ssn, parse_number};
pub use phrases::{MAX_PHRASE_BYTES, PhraseError, PhraseSet, data_file, phrases, shortest};
pub use range::{ByteRange, ByteRangeError};
pub use words::{contains, contains_word, within};
