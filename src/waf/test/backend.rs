//! The backend of the tests on a port of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use breakwater_ftw::Answer;

/// Largest body that is read.
const LARGEST: u64 = 16 << 20;

/// Starts it; it ends with the process.
pub(super) fn start() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(&stream));
        }
    });
    Ok(address)
}

fn serve(stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Some((target, body)) = request(&mut reader) {
        let mut writer = stream;
        if writer.write_all(&answer(&target, &body)).is_err() {
            return;
        }
    }
}

/// The target and the body of the next request.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<(String, Vec<u8>)> {
    let line = |reader: &mut BufReader<&TcpStream>| {
        let mut bytes = Vec::new();
        let read = reader.read_until(b'\n', &mut bytes).ok()?;
        (read > 0).then(|| String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    let first = line(reader)?;
    let (mut length, mut chunked) = (0_u64, false);
    loop {
        let field = line(reader)?;
        let Some((name, value)) = field.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let size = u64::from_str_radix(line(reader)?.split(';').next()?.trim(), 16).ok()?;
            reader.take(size.min(LARGEST)).read_to_end(&mut body).ok()?;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else {
        reader.take(length.min(LARGEST)).read_to_end(&mut body).ok()?;
    }
    Some((first.split(' ').nth(1)?.to_owned(), body))
}

fn answer(target: &str, body: &[u8]) -> Vec<u8> {
    let answer = Answer::to(target.as_bytes(), body);
    let mut out = format!("HTTP/1.1 {} x\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", answer.body.len()).as_bytes());
    out.extend_from_slice(&answer.body);
    out
}
