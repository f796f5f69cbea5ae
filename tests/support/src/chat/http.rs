//! Just enough HTTP/1.1 to read requests.

use std::{
    io::{ErrorKind, Read as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The path of its address.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// What was sent.
    pub body: Vec<u8>,
}

impl Call {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads one request. `kept` holds what was read too much. `None` when the connection has ended.
pub(super) fn read(
    connection: &TcpStream,
    kept: &mut Vec<u8>,
    is_over: &AtomicBool,
) -> Option<Call> {
    let end = loop {
        match kept.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => more(connection, kept, is_over)?,
        }
    };
    let head = String::from_utf8_lossy(&kept[..end]).into_owned();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let mut call = Call { path, headers, body: Vec::new() };
    let length: usize = call.header("content-length").and_then(|text| text.parse().ok())?;
    while kept.len() < end + length {
        more(connection, kept, is_over)?;
    }
    call.body = kept[end..end + length].to_vec();
    kept.drain(..end + length);
    Some(call)
}

fn more(mut connection: &TcpStream, kept: &mut Vec<u8>, is_over: &AtomicBool) -> Option<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => {
                kept.extend_from_slice(&buffer[..count]);
                return Some(());
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if is_over.load(Relaxed) {
                    return None;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Whether the client has closed the connection.
pub(super) fn has_gone(connection: &TcpStream) -> bool {
    if connection.set_nonblocking(true).is_err() {
        return true;
    }
    let found = connection.peek(&mut [0]);
    let is_back = connection.set_nonblocking(false).is_ok();
    !is_back
        || matches!(found, Ok(0))
        || found.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
}
