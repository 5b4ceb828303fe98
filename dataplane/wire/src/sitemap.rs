//! Sitemaps: the URLs a site lists of itself (sitemaps.org protocol 0.9), as XML from outside.
//!
//! A document is read once, front to back, with a pull parser. No entity but the five of XML and character references
//! is expanded, no DTD is read, nothing is fetched: what a document costs is in proportion to its length, which the
//! caller bounds. Names are compared without their prefix, at their place in the tree: `loc` of an image or a video
//! extension is another element, deeper. Which of the URLs are of use is left to the caller.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// What bounds a document. The protocol's own bounds are 50 MiB and 50,000 URLs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the document, uncompressed.
    pub bytes: usize,
    /// URLs that are kept; those beyond are counted.
    pub urls: usize,
}

impl Limits {
    /// 16 MiB, and as many URLs as the protocol allows.
    pub const DEFAULT: Self = Self {
        bytes: 16 << 20,
        urls: 50_000,
    };
}

/// Longest URL the protocol allows, bytes; longer ones are not kept.
pub const MAX_URL: usize = 2048;

/// What the URLs of a document are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pages: the document is a `urlset`.
    Pages,
    /// Further sitemaps: the document is a `sitemapindex`.
    Sitemaps,
}

/// A sitemap, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sitemap {
    /// What its URLs are.
    pub kind: Kind,
    /// The URLs, in the document's order, references expanded, without blanks around them. Visible ASCII only.
    pub urls: Vec<String>,
    /// Entries without a URL that can be used: none at all, too long, not ASCII, or with an unknown entity.
    pub unusable: usize,
    /// URLs beyond [`Limits::urls`].
    pub beyond: usize,
}

/// Why a document is not a sitemap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SitemapError {
    /// More bytes than [`Limits::bytes`].
    #[error("the sitemap is longer than {0} bytes")]
    TooLong(usize),
    /// Sitemaps are UTF-8.
    #[error("the sitemap is not UTF-8")]
    NotUtf8,
    /// Not well-formed, or cut short.
    #[error("the sitemap is not well-formed XML: {0}")]
    Malformed(String),
    /// Something else.
    #[error("the document is no sitemap: its root is neither urlset nor sitemapindex")]
    NotASitemap,
}

/// Reads a document.
///
/// # Errors
/// See [`SitemapError`]. A document that is cut short is an error even where URLs were read before.
pub fn parse(document: &[u8], limits: &Limits) -> Result<Sitemap, SitemapError> {
    if document.len() > limits.bytes {
        return Err(SitemapError::TooLong(limits.bytes));
    }
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let text = std::str::from_utf8(document).map_err(|_| SitemapError::NotUtf8)?;
    let malformed = |error: quick_xml::Error| SitemapError::Malformed(error.to_string());
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut state = State::new(limits.urls);
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Start(start) => state.start(start.local_name().as_ref())?,
            Event::End(_) => state.end(),
            Event::Text(text) => state.text(&text.xml10_content())?,
            Event::CData(text) => state.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => state.reference(&reference)?,
            Event::Eof => return state.finish(),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::DocType(_) | Event::Empty(_) => {}
        }
    }
}

/// What XML takes for blank.
const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// Where the reader is, and what it found.
struct State {
    kind: Option<Kind>,
    depth: usize,
    /// Within a `url` or `sitemap` of the root.
    entry: bool,
    /// Within its `loc`.
    location: bool,
    /// What the `loc` says so far; none when it cannot be used.
    text: Option<String>,
    /// The entry had a `loc` that is kept.
    found: bool,
    urls: Vec<String>,
    most: usize,
    unusable: usize,
    beyond: usize,
}

impl State {
    const fn new(most: usize) -> Self {
        Self {
            kind: None,
            depth: 0,
            entry: false,
            location: false,
            text: None,
            found: false,
            urls: Vec::new(),
            most,
            unusable: 0,
            beyond: 0,
        }
    }

    fn start(&mut self, name: &str) -> Result<(), SitemapError> {
        match (self.depth, self.kind) {
            (0, None) => {
                self.kind = Some(match name {
                    "urlset" => Kind::Pages,
                    "sitemapindex" => Kind::Sitemaps,
                    _ => return Err(SitemapError::NotASitemap),
                });
            }
            // A second root.
            (0, Some(_)) => return Err(SitemapError::NotASitemap),
            (1, Some(kind)) => {
                self.entry = name
                    == match kind {
                        Kind::Pages => "url",
                        Kind::Sitemaps => "sitemap",
                    };
                self.found = false;
            }
            (2, _) if self.entry && !self.found && name == "loc" => {
                self.location = true;
                self.text = Some(String::new());
            }
            // Markup within a loc: whatever it is, it is no URL.
            (3, _) if self.location => self.text = None,
            _ => {}
        }
        self.depth += 1;
        Ok(())
    }

    fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        match self.depth {
            2 if std::mem::take(&mut self.location) => self.located(),
            1 if std::mem::take(&mut self.entry) && !self.found => self.unusable += 1,
            _ => {}
        }
    }

    fn located(&mut self) {
        let Some(text) = self.text.take() else { return };
        let url = text.trim_matches(BLANK);
        if url.is_empty() || url.len() > MAX_URL || !url.bytes().all(|b| b.is_ascii_graphic()) {
            return;
        }
        self.found = true;
        if self.urls.len() < self.most {
            self.urls.push(url.to_owned());
        } else {
            self.beyond += 1;
        }
    }

    fn text(&mut self, text: &str) -> Result<(), SitemapError> {
        if self.depth == 0 && !text.trim_matches(BLANK).is_empty() {
            return Err(self.beside());
        }
        if let Some(so_far) = self.text.as_mut().filter(|_| self.location && self.depth == 3) {
            so_far.push_str(text);
        }
        Ok(())
    }

    /// Something but markup is where the root is not.
    fn beside(&self) -> SitemapError {
        match self.kind {
            None => SitemapError::NotASitemap,
            Some(_) => SitemapError::Malformed("there is text behind its root".to_owned()),
        }
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), SitemapError> {
        let meant = match reference.resolve_char_ref() {
            Ok(Some(character)) => Some(character),
            Ok(None) => match reference.xml10_content().as_ref() {
                "amp" => Some('&'),
                "lt" => Some('<'),
                "gt" => Some('>'),
                "apos" => Some('\''),
                "quot" => Some('"'),
                _ => None,
            },
            Err(_) => None,
        };
        match meant {
            Some(character) => return self.text(character.encode_utf8(&mut [0; 4])),
            None if self.depth == 0 => return Err(self.beside()),
            // Only a DTD could say what it is, and none is read.
            None if self.location => self.text = None,
            None => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Sitemap, SitemapError> {
        let Some(kind) = self.kind else {
            return Err(SitemapError::NotASitemap);
        };
        if self.depth > 0 {
            return Err(SitemapError::Malformed("it ends within an element".to_owned()));
        }
        Ok(Sitemap {
            kind,
            urls: self.urls,
            unusable: self.unusable,
            beyond: self.beyond,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &str) -> Result<Sitemap, SitemapError> {
        parse(document.as_bytes(), &Limits::DEFAULT)
    }

    fn urls(document: &str) -> Vec<String> {
        read(document).unwrap().urls
    }

    #[test]
    fn the_urls_of_a_urlset_come_in_order_with_references_expanded() {
        let sitemap = read(concat!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
            "<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
            "  <url><loc> http://a.test/?a=1&amp;b=%20&#38;c </loc><lastmod>2026-01-01</lastmod></url>\n",
            "  <url><priority>0.5</priority><loc><![CDATA[http://a.test/b]]></loc></url>\n",
            "</urlset>\n"
        ))
        .unwrap();
        assert_eq!(sitemap.kind, Kind::Pages);
        assert_eq!(sitemap.urls, ["http://a.test/?a=1&b=%20&c", "http://a.test/b"]);
        assert_eq!((sitemap.unusable, sitemap.beyond), (0, 0));
    }

    #[test]
    fn an_index_lists_sitemaps() {
        let sitemap = read(
            "<s:sitemapindex xmlns:s='x'><s:sitemap><s:loc>http://a.test/1.xml</s:loc></s:sitemap></s:sitemapindex>",
        )
        .unwrap();
        assert_eq!(sitemap.kind, Kind::Sitemaps);
        assert_eq!(sitemap.urls, ["http://a.test/1.xml"]);
    }

    #[test]
    fn a_loc_at_another_place_is_none() {
        let found = urls(concat!(
            "<urlset><loc>http://a.test/no</loc><other><loc>http://a.test/no</loc></other>",
            "<url><image:image xmlns:image='i'><image:loc>http://a.test/no</image:loc></image:image>",
            "<loc>http://a.test/yes</loc><loc>http://a.test/second</loc></url></urlset>"
        ));
        assert_eq!(found, ["http://a.test/yes"]);
    }

    #[test]
    fn no_entity_of_a_dtd_is_expanded() {
        let sitemap = read(concat!(
            "<!DOCTYPE urlset [<!ENTITY a \"http://a.test/\"><!ENTITY b SYSTEM \"file:///etc/passwd\">]>",
            "<urlset><url><loc>&a;</loc></url><url><loc>http://a.test/&b;</loc></url>",
            "<url><loc>http://a.test/c</loc></url></urlset>"
        ))
        .unwrap();
        assert_eq!(sitemap.urls, ["http://a.test/c"]);
        assert_eq!(sitemap.unusable, 2);
    }

    #[test]
    fn what_is_no_url_is_counted_and_not_kept() {
        let long = "x".repeat(MAX_URL);
        let sitemap = read(&format!(
            "<urlset><url/><url><loc/></url><url><loc>http://a.test/{long}</loc></url><url><loc>http://a.test/ü</loc></url><url><loc>http://a.test/<b>x</b></loc></url><url><loc>a b</loc></url></urlset>"
        ))
        .unwrap();
        assert_eq!(sitemap.urls, Vec::<String>::new());
        assert_eq!(sitemap.unusable, 6);
    }

    #[test]
    fn urls_beyond_the_limit_are_counted() {
        let entries = "<url><loc>http://a.test/</loc></url>".repeat(5);
        let limits = Limits {
            urls: 3,
            ..Limits::DEFAULT
        };
        let sitemap = parse(format!("<urlset>{entries}</urlset>").as_bytes(), &limits).unwrap();
        assert_eq!((sitemap.urls.len(), sitemap.beyond), (3, 2));
    }

    #[test]
    fn text_beside_the_root_is_refused_and_blanks_and_comments_are_not() {
        // Found by fuzzing: what ends like a document was taken for one that was cut.
        for text in ["set>", "x", "&amp;", "&a;", "<![CDATA[x]]>"] {
            let behind = read(&format!("<urlset></urlset>{text}"));
            assert!(matches!(behind, Err(SitemapError::Malformed(_))), "{text}: {behind:?}");
            let before = read(&format!("{text}<urlset></urlset>"));
            assert_eq!(before, Err(SitemapError::NotASitemap), "{text}");
        }
        assert!(read(" \r\n<!-- a --><urlset></urlset>\t<!-- b -->\n").is_ok());
    }

    #[test]
    fn what_is_not_a_whole_sitemap_is_refused() {
        for (document, error) in [
            ("", SitemapError::NotASitemap),
            ("<html></html>", SitemapError::NotASitemap),
            ("plain text", SitemapError::NotASitemap),
            ("<urlset/><urlset/>", SitemapError::NotASitemap),
        ] {
            assert_eq!(read(document), Err(error), "{document}");
        }
        for document in [
            "<urlset><url><loc>http://a.test/</loc></url>",
            "<urlset><url></urlset></url>",
            "<urlset><url",
            "<urlset>&</urlset>",
        ] {
            assert!(matches!(read(document), Err(SitemapError::Malformed(_))), "{document}");
        }
        assert_eq!(
            parse(b"<urlset>\xff</urlset>", &Limits::DEFAULT),
            Err(SitemapError::NotUtf8)
        );
        let limits = Limits {
            bytes: 8,
            ..Limits::DEFAULT
        };
        assert_eq!(parse(b"<urlset/>", &limits), Err(SitemapError::TooLong(8)));
    }
}
