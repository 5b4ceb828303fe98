//! From the body of a response to the URLs it lists.

use std::io::Read;
use std::sync::Arc;

use breakwater_wire::sitemap::{Kind, Limits, parse};
use flate2::read::MultiGzDecoder;

use super::list::Url;

/// The fields of a request for a sitemap.
pub(super) const FIELDS: &str = "Accept: application/xml, text/xml\r\nAccept-Encoding: gzip\r\n";

/// What bounds one document, as it comes and unpacked.
pub(super) const LIMITS: Limits = Limits::DEFAULT;

/// What a sitemap lists.
#[derive(Debug)]
pub(super) enum Found {
    /// Pages, and how many URLs were left out: of other hosts, unusable, or beyond the limit.
    Pages(Vec<Arc<Url>>, usize),
    /// Sitemaps, and how many were left out.
    Sitemaps(Vec<Arc<Url>>, usize),
}

/// Reads the sitemap at `url`, which another one led to if `depth` is above zero. Only URLs of its own host count (the
/// protocol wants no others), and they are asked for as it was: by its scheme and port.
pub(super) fn read(url: &Url, depth: u8, body: &[u8]) -> Result<Found, String> {
    let unpacked = unpack(body)?;
    let sitemap = parse(unpacked.as_deref().unwrap_or(body), &LIMITS).map_err(|error| error.to_string())?;
    if sitemap.kind == Kind::Sitemaps && depth > 0 {
        return Err("a sitemap index lists another sitemap index, which the protocol does not allow".to_owned());
    }
    let mut left_out = sitemap.unusable + sitemap.beyond;
    let own = url.host();
    let mut urls = Vec::with_capacity(sitemap.urls.len());
    for text in &sitemap.urls {
        match Url::parse(text) {
            Ok(listed) if listed.host() == own => urls.push(Arc::new(Url {
                scheme: url.scheme,
                authority: Arc::clone(&url.authority),
                target: listed.target,
            })),
            _ => left_out += 1,
        }
    }
    Ok(match sitemap.kind {
        Kind::Pages => Found::Pages(urls, left_out),
        Kind::Sitemaps => Found::Sitemaps(urls, left_out),
    })
}

/// A document that is packed with gzip, as a content coding or as a file, shows it by its first bytes, which no XML has.
fn unpack(body: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if !body.starts_with(b"\x1f\x8b") {
        return Ok(None);
    }
    let mut unpacked = Vec::new();
    let most = LIMITS.bytes as u64 + 1;
    // One byte more than allowed is enough to tell.
    MultiGzDecoder::new(body)
        .take(most)
        .read_to_end(&mut unpacked)
        .map_err(|error| format!("the sitemap cannot be unpacked: {error}"))?;
    Ok(Some(unpacked))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn at(url: &str) -> Url {
        Url::parse(url).unwrap()
    }

    const PAGES: &str = "<urlset><url><loc>http://a.test/1</loc></url><url><loc>https://A.TEST:8443/2?x=1&amp;y</loc></url><url><loc>http://b.test/3</loc></url><url><loc>/4</loc></url></urlset>";

    #[test]
    fn urls_of_the_same_host_are_asked_for_as_the_sitemap_was() {
        for body in [PAGES.as_bytes().to_vec(), packed(PAGES.as_bytes())] {
            let Found::Pages(urls, left_out) = read(&at("//a.test/sitemap.xml"), 0, &body).unwrap() else {
                panic!("it lists pages");
            };
            let urls: Vec<_> = urls.iter().map(ToString::to_string).collect();
            assert_eq!(urls, ["//a.test/1", "//a.test/2?x=1&y"]);
            assert_eq!(left_out, 2);
        }
    }

    #[test]
    fn an_index_in_an_index_is_refused() {
        let index = "<sitemapindex><sitemap><loc>http://a.test/1.xml</loc></sitemap></sitemapindex>";
        let root = at("http://a.test/s.xml");
        assert!(matches!(read(&root, 0, index.as_bytes()), Ok(Found::Sitemaps(urls, 0)) if urls.len() == 1));
        assert!(read(&root, 1, index.as_bytes()).is_err());
    }

    #[test]
    fn what_unpacks_to_more_than_the_limit_is_refused() {
        let bomb = packed(&vec![b' '; LIMITS.bytes + 1]);
        let refused = read(&at("http://a.test/s.xml"), 0, &bomb).unwrap_err();
        assert!(refused.contains("longer than"), "{refused}");
        let cut = packed(PAGES.as_bytes());
        assert!(
            read(&at("http://a.test/s.xml"), 0, &cut[..cut.len() / 2])
                .unwrap_err()
                .contains("unpacked")
        );
    }
}
