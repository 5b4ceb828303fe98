//! Where the values in messages and log data come from, and which of them are told.
//!
//! A value is hidden by what it is, not by how it is worded: for each macro it is noted at once whether its value is that of
//! a hidden name, or a piece of one, or of unknown origin. The rest is searched for names and values when the transaction is
//! over and all of its arguments are known.

use std::borrow::Cow;

use super::lists::{self, Item, List};
use super::resolve::{Found, FoundKey};
use super::{Transaction, Val, bytes_of};
use crate::audit::{Mask, Redaction, cut};
use crate::engine::bound::Bound;
use crate::engine::names::CAPTURES;
use crate::engine::program::{Piece, Program, Rule, Select, Target, Text};
use crate::seclang::{Sanitise, Variable};
use crate::transform::Transformation;
use base64::Engine as _;

/// Most bytes of a text that are searched for a hidden name; a piece of a longer one is hidden.
const SEARCHED: usize = 64 << 10;

/// What a match says.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) msg: Traced,
    pub(super) data: Traced,
}

impl Said {
    pub(super) fn memory(&self) -> usize {
        self.msg.memory() + self.data.memory()
    }
}

/// A text, and what of it clients sent.
#[derive(Debug, Default)]
pub(super) struct Traced {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    end: usize,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The rule's own words, and numbers.
    Rule,
    /// Text of a client.
    Client,
    /// A piece of such a text: what stands before it, a name for one, is not in it.
    Piece,
    /// It is not told.
    Hidden,
}

impl Traced {
    fn memory(&self) -> usize {
        self.bytes.capacity() + self.parts.capacity() * size_of::<Part>()
    }

    /// What is told of it.
    pub(super) fn shown(&self, mask: &Mask, most: usize) -> String {
        let mut out = String::new();
        let mut start = 0;
        for part in &self.parts {
            let bytes = self.bytes.get(start..part.end).unwrap_or_default();
            start = part.end;
            let text = String::from_utf8_lossy(bytes);
            match part.origin {
                Origin::Rule => out.push_str(&text),
                _ if text.is_empty() => {}
                Origin::Hidden => out.push_str("***"),
                Origin::Piece if mask.is_piece(bytes) => out.push_str("***"),
                Origin::Piece | Origin::Client => out.push_str(&mask.text(&text)),
            }
        }
        cut(&out, most).to_owned()
    }
}

impl Transaction {
    /// A text with its macros expanded, at most `limit` bytes of it, and where each part comes from.
    pub(super) fn traced(
        &mut self,
        bound: &Bound,
        program: &Program,
        rule: &Rule,
        text: &Text,
        limit: usize,
    ) -> Traced {
        let disguised = is_disguised(program, rule);
        let mut traced = Traced::default();
        for piece in &text.0 {
            let origin = match piece {
                Piece::Bytes(_) => Origin::Rule,
                Piece::Slot(slot) => self.of_tx(bound, program, *slot),
                Piece::Macro(target) => self.of_macro(bound, program, target),
            };
            let origin = match piece {
                Piece::Slot(_) | Piece::Macro(_) if disguised && origin != Origin::Rule => self.unknown(),
                _ => origin,
            };
            let whole = self.expand_piece(bound, program, piece, limit, &mut traced.bytes);
            traced.parts.push(Part {
                end: traced.bytes.len(),
                origin,
            });
            if !whole {
                break;
            }
        }
        traced
    }

    fn of_tx(&self, bound: &Bound, program: &Program, slot: u16) -> Origin {
        match (self.tx.get(slot), self.matched.captured) {
            (Val::Id(_), Some((found, all))) if slot == 0 || (all && slot < CAPTURES) => {
                self.of_found(bound, program, &found, true)
            }
            (Val::Id(_), _) => self.unknown(),
            // A number may be one that a client sent.
            (Val::Int(_), _) => Origin::Client,
            _ => Origin::Rule,
        }
    }

    fn of_macro(&self, bound: &Bound, program: &Program, target: &Target) -> Origin {
        let found = match target.variable {
            Variable::MatchedVarName | Variable::MatchedVarsNames => return Origin::Client,
            Variable::MatchedVar => self.matched.last,
            Variable::MatchedVars => self.matched.all.first().copied(),
            variable => {
                let named = lists::of(variable).and_then(|(lists, _)| {
                    let mut items = lists.iter().flat_map(|list| self.lists.get(*list));
                    let item = items.find(|item| super::resolve::selects(&target.key, self.values.get(item.name)))?;
                    Some(FoundKey::Id(item.name))
                });
                let key = match &target.key {
                    Select::Slot(slot) => FoundKey::Slot(*slot),
                    _ => named.unwrap_or(FoundKey::None),
                };
                Some(Found {
                    variable,
                    key,
                    val: self.scalar(variable),
                })
            }
        };
        found.map_or(Origin::Rule, |found| self.of_found(bound, program, &found, false))
    }

    /// What comes of a value: of a whole one, or of a piece of it.
    fn of_found(&self, bound: &Bound, program: &Program, found: &Found, piece: bool) -> Origin {
        let key = match found.key {
            FoundKey::Id(id) => self.values.get(id),
            _ => &[],
        };
        match kind(found.variable) {
            Kind::Number => Origin::Rule,
            Kind::Derived if !matches!(found.val, Val::Id(_)) && found.variable == Variable::Tx => Origin::Client,
            Kind::Derived => self.unknown(),
            Kind::Xml if self.redaction.hides_arguments() => Origin::Hidden,
            kind if hides(&self.redaction, kind, key) => Origin::Hidden,
            _ if !piece => Origin::Client,
            _ => {
                let text = bytes_of(program, bound, &self.values, found.val, &mut [0; 24]).to_vec();
                if text.len() > SEARCHED && !self.redaction.is_empty() || self.redaction.speaks_of(&text) {
                    Origin::Hidden
                } else {
                    Origin::Piece
                }
            }
        }
    }

    /// A value whose origin is not known any more: hidden where anything is.
    fn unknown(&self) -> Origin {
        if self.redaction.is_empty() {
            Origin::Client
        } else {
            Origin::Hidden
        }
    }

    /// What is kept out of what is told: names, and all values that they had.
    pub(super) fn mask(&self) -> Mask {
        let names = (*self.redaction).clone();
        let sanitised = &self.sanitised;
        if names.is_empty() && sanitised.values.is_empty() && !sanitised.doubt {
            return Mask::default();
        }
        let mut values: Vec<Cow<'_, [u8]>> = Vec::new();
        values.extend(sanitised.values.iter().map(|value| Cow::Borrowed(&**value)));
        let all = [
            (List::ArgsGet, Kind::Argument),
            (List::ArgsPost, Kind::Argument),
            (List::Files, Kind::Argument),
            (List::FilesContent, Kind::Argument),
            (List::RequestHeaders, Kind::Field),
            (List::Cookies, Kind::Cookie),
            (List::ResponseHeaders, Kind::Field),
        ];
        for (list, kind) in all {
            for Item { name, value } in self.lists.get(list) {
                let (name, value) = (self.values.get(*name), self.values.get(*value));
                if !hides(&names, kind, name) {
                    continue;
                }
                values.push(Cow::Borrowed(value));
                match kind {
                    // A cookie without `=` is all value.
                    Kind::Cookie if value.is_empty() => values.push(Cow::Borrowed(name)),
                    Kind::Field => credentials(value, &mut values),
                    _ => {}
                }
            }
        }
        for text in self.texts() {
            values.extend(names.values_in(text).into_iter().map(Cow::Owned));
        }
        Mask::new(names, values, sanitised.doubt)
    }

    /// Texts of the client that may hold names and values that are not taken apart, [`SEARCHED`] bytes in all.
    fn texts(&self) -> Vec<&[u8]> {
        let scalars = [Variable::RequestUriRaw, Variable::RequestBody].map(|variable| self.scalar(variable));
        let scalars = scalars.into_iter().filter_map(|val| match val {
            Val::Id(id) => Some(id),
            _ => None,
        });
        let lists = [List::ArgsGet, List::ArgsPost, List::RequestHeaders];
        let items = lists
            .into_iter()
            .flat_map(|list| self.lists.get(list))
            .map(|item| item.value);
        let mut room = SEARCHED;
        let texts = scalars.chain(items).map(|id| self.values.get(id));
        texts
            .map(|text| {
                let text = text.get(..room).unwrap_or(text);
                room -= text.len();
                text
            })
            .filter(|text| !text.is_empty())
            .collect()
    }

    /// `sanitiseArg` and its like. What matches said before is searched for the values; from here on it is known by name.
    pub(super) fn sanitise(&mut self, bound: &Bound, program: &Program, what: &Sanitise) {
        match what {
            Sanitise::Argument(name) => self.hide_name(name, false),
            Sanitise::Header(name) => self.hide_name(name, true),
            Sanitise::Matched => {
                let mut all = self.matched.all.clone();
                all.extend(self.matched.last);
                for found in all {
                    let key = match found.key {
                        FoundKey::Id(id) => String::from_utf8_lossy(self.values.get(id)).into_owned(),
                        _ => String::new(),
                    };
                    match kind(found.variable) {
                        Kind::Argument | Kind::Cookie => self.hide_name(&key, false),
                        Kind::Field => self.hide_name(&key, true),
                        Kind::OfField(name) => self.hide_name(name, true),
                        Kind::Xml | Kind::Text | Kind::Derived | Kind::Number => {
                            self.hide_value(bound, program, found.val);
                        }
                    }
                }
            }
            Sanitise::MatchedBytes => {
                let val = match self.matched.captured {
                    Some(_) => Some(self.tx.get(0)),
                    None => self.matched.last.map(|last| last.val),
                };
                if let Some(val) = val {
                    self.hide_value(bound, program, val);
                }
            }
        }
    }

    fn hide_name(&mut self, name: &str, of_header: bool) {
        if self.sanitised.names >= SANITISED {
            self.sanitised.doubt = true;
        } else if !name.is_empty() && std::sync::Arc::make_mut(&mut self.redaction).add(name, of_header) {
            self.sanitised.names += 1;
        }
    }

    fn hide_value(&mut self, bound: &Bound, program: &Program, val: Val) {
        let mut buffer = [0; 24];
        let value = bytes_of(program, bound, &self.values, val, &mut buffer);
        // Of a longer one the beginning is sought, and all behind it is hidden.
        let value = value.get(..VALUE).unwrap_or(value);
        if self.sanitised.values.len() >= SANITISED {
            self.sanitised.doubt = true;
        } else if !self.sanitised.values.iter().any(|known| **known == *value) {
            self.sanitised.values.push(value.into());
        }
    }
}

/// Most names, and most values, that the rules of one transaction keep out of what is told; beyond, nothing a client sent
/// is told.
const SANITISED: usize = 128;

/// So much of such a value is kept.
const VALUE: usize = 1024;

/// What rules said is not told.
#[derive(Debug, Default)]
pub(super) struct Sanitised {
    values: Vec<Box<[u8]>>,
    names: usize,
    doubt: bool,
}

/// Whether a rule looks at values in a form in which no name is found: encoded or hashed.
fn is_disguised(program: &Program, rule: &Rule) -> bool {
    let pipelines = rule
        .links
        .iter()
        .filter_map(|link| program.pipelines.get(link.pipeline as usize));
    let mut steps = pipelines
        .flat_map(|steps| steps.iter())
        .filter_map(|step| program.steps.get(usize::from(*step)));
    steps.any(|step| {
        matches!(
            step,
            Transformation::Base64Encode | Transformation::HexEncode | Transformation::Md5 | Transformation::Sha1
        )
    })
}

/// The parts of a hidden field that a secret may be: what stands behind the scheme of `Authorization`, and what it encodes.
fn credentials<'v>(value: &'v [u8], values: &mut Vec<Cow<'v, [u8]>>) {
    let Some(at) = memchr::memchr(b' ', value) else { return };
    let rest = value.get(at + 1..).unwrap_or_default().trim_ascii();
    values.push(Cow::Borrowed(rest));
    if !value
        .get(..at)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
    {
        return;
    }
    if let Ok(pair) = base64::engine::general_purpose::STANDARD.decode(rest) {
        if let Some(colon) = memchr::memchr(b':', &pair) {
            values.push(Cow::Owned(pair.get(colon + 1..).unwrap_or_default().to_vec()));
        }
        values.push(Cow::Owned(pair));
    }
}

/// What a variable's values are, for what of them is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Argument,
    Field,
    Cookie,
    /// Of the field of this name.
    OfField(&'static str),
    Xml,
    Text,
    /// Made by rules from what may be anything.
    Derived,
    /// A number, an address, a word of the protocol.
    Number,
}

fn hides(names: &Redaction, kind: Kind, key: &[u8]) -> bool {
    let argument = || names.hides_argument(&String::from_utf8_lossy(key));
    match kind {
        Kind::Argument => argument(),
        Kind::Field => names.hides_header(key),
        Kind::Cookie => names.hides_header(b"cookie") || argument(),
        Kind::OfField(name) => names.hides_header(name.as_bytes()),
        Kind::Xml | Kind::Text | Kind::Derived | Kind::Number => false,
    }
}

fn kind(variable: Variable) -> Kind {
    match variable {
        Variable::Args
        | Variable::ArgsGet
        | Variable::ArgsPost
        | Variable::Files
        | Variable::FilesTmpContent
        | Variable::MultipartFilename
        | Variable::MultipartPartHeaders => Kind::Argument,
        Variable::RequestHeaders | Variable::ResponseHeaders => Kind::Field,
        Variable::RequestCookies => Kind::Cookie,
        Variable::AuthType | Variable::RemoteUser => Kind::OfField("authorization"),
        Variable::ServerName => Kind::OfField("host"),
        Variable::ResponseContentType => Kind::OfField("content-type"),
        Variable::ResponseContentLength => Kind::OfField("content-length"),
        Variable::Xml => Kind::Xml,
        Variable::ArgsGetNames
        | Variable::ArgsNames
        | Variable::ArgsPostNames
        | Variable::FilesNames
        | Variable::FullRequest
        | Variable::MatchedVarName
        | Variable::MatchedVarsNames
        | Variable::MultipartName
        | Variable::PathInfo
        | Variable::QueryString
        | Variable::ReqbodyErrorMsg
        | Variable::ReqbodyProcessorErrorMsg
        | Variable::RequestBasename
        | Variable::RequestBody
        | Variable::RequestCookiesNames
        | Variable::RequestFilename
        | Variable::RequestHeadersNames
        | Variable::RequestLine
        | Variable::RequestMethod
        | Variable::RequestProtocol
        | Variable::RequestUri
        | Variable::RequestUriRaw
        | Variable::ResponseBody
        | Variable::ResponseHeadersNames => Kind::Text,
        Variable::Env
        | Variable::Global
        | Variable::Ip
        | Variable::MatchedVar
        | Variable::MatchedVars
        | Variable::Resource
        | Variable::Rule
        | Variable::Session
        | Variable::Sessionid
        | Variable::Tx
        | Variable::User
        | Variable::Userid => Kind::Derived,
        Variable::ArgsCombinedSize
        | Variable::Duration
        | Variable::FilesCombinedSize
        | Variable::FilesSizes
        | Variable::FullRequestLength
        | Variable::Geo
        | Variable::HighestSeverity
        | Variable::InboundDataError
        | Variable::ModsecBuild
        | Variable::MultipartBoundaryQuoted
        | Variable::MultipartBoundaryWhitespace
        | Variable::MultipartCrlfLfLines
        | Variable::MultipartDataAfter
        | Variable::MultipartDataBefore
        | Variable::MultipartFileLimitExceeded
        | Variable::MultipartHeaderFolding
        | Variable::MultipartInvalidHeaderFolding
        | Variable::MultipartInvalidPart
        | Variable::MultipartInvalidQuoting
        | Variable::MultipartLfLine
        | Variable::MultipartMissingSemicolon
        | Variable::MultipartStrictError
        | Variable::MultipartUnmatchedBoundary
        | Variable::OutboundDataError
        | Variable::RemoteAddr
        | Variable::RemoteHost
        | Variable::RemotePort
        | Variable::ReqbodyError
        | Variable::ReqbodyProcessor
        | Variable::ReqbodyProcessorError
        | Variable::RequestBodyLength
        | Variable::ResponseProtocol
        | Variable::ResponseStatus
        | Variable::ServerAddr
        | Variable::ServerPort
        | Variable::StatusLine
        | Variable::Time
        | Variable::TimeDay
        | Variable::TimeEpoch
        | Variable::TimeHour
        | Variable::TimeMin
        | Variable::TimeMon
        | Variable::TimeSec
        | Variable::TimeWday
        | Variable::TimeYear
        | Variable::UniqueId
        | Variable::UrlencodedError => Kind::Number,
    }
}
