//! What an idle connection owns.

use super::*;

const BROWSER: [(&str, &str); 16] = [
    (":method", "GET"),
    (":authority", "www.shop.example"),
    (":scheme", "https"),
    (":path", "/assets/app.3f9a1c.js"),
    (
        "sec-ch-ua",
        "\"Chromium\";v=\"148\", \"Not/A)Brand\";v=\"24\", \"Google Chrome\";v=\"148\"",
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36",
    ),
    ("accept", "*/*"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "no-cors"),
    ("sec-fetch-dest", "script"),
    ("referer", "https://www.shop.example/catalogue"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9"),
    ("priority", "u=1"),
];

/// Every field is put into the table.
fn indexed(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0x40);
        for text in [name, value] {
            integer::write(&mut out, 0, 7, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

fn idle_after(fields: &[(&str, &str)]) -> usize {
    let mut peer = Peer::new();
    let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &indexed(fields));
    assert!(matches!(peer.feed(&bytes)[..], [Seen::Request(..)]));
    peer.connection.send_head(1, OK, true, &mut peer.out).expect("open");
    assert_eq!(peer.connection.open_streams(), 0);
    size_of::<Connection>() + peer.connection.heap()
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 512, "{}", size_of::<Connection>());
    let tool = [&GET[..], &[("user-agent", "curl/8.16.0"), ("accept", "*/*")]].concat();
    assert!(idle_after(&tool) <= 1024, "{}", idle_after(&tool));
    let browser = idle_after(&BROWSER);
    assert!(browser <= 1536, "{browser}");
}

#[test]
fn many_streams_leave_no_memory_behind() {
    let mut peer = Peer::new();
    for round in 0..100 {
        peer.request(2 * round + 1, &GET, true);
    }
    let busy = peer.connection.heap();
    for round in 0..100 {
        peer.connection
            .send_head(2 * round + 1, OK, true, &mut peer.out)
            .expect("open");
    }
    assert!(
        busy > 4096 && peer.connection.heap() == 0,
        "{busy} {}",
        peer.connection.heap()
    );
}
