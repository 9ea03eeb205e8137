//! Lists of `KEY=VALUE` with commas between them, as the command lines of QEMU, Cloud Hypervisor and vhost-device-vsock have
//! them, and the objects that QEMU takes in their place.

use serde_json::Value;

/// A list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Keyed(Vec<(String, Vec<u8>)>);

impl Keyed {
    /// Reads a list. What has no key, which only the first may, gets the one that is `implied`. Two commas are one in a value.
    pub fn parse(text: &[u8], implied: &str) -> Self {
        if text.trim_ascii_start().starts_with(b"{") {
            return Self::of_object(text);
        }
        let mut pairs = vec![Vec::new()];
        let mut bytes = text.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            if byte == b',' && bytes.next_if_eq(&b',').is_none() {
                pairs.push(Vec::new());
            } else if let Some(pair) = pairs.last_mut() {
                pair.push(byte);
            }
        }
        let mut list = Self::default();
        for (at, pair) in pairs.into_iter().enumerate() {
            match pair.iter().position(|&byte| byte == b'=') {
                Some(equals) => {
                    let key = String::from_utf8_lossy(&pair[..equals]).into_owned();
                    list.0.push((key, pair[equals + 1..].to_vec()));
                }
                None if at == 0 => list.0.push((implied.to_owned(), pair)),
                // A switch alone.
                None => list.0.push((String::from_utf8_lossy(&pair).into_owned(), b"on".to_vec())),
            }
        }
        list
    }

    fn of_object(text: &[u8]) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_slice(text) else { return Self::default() };
        let pair = |(key, value)| match value {
            Value::String(text) => Some((key, text.into_bytes())),
            Value::Number(number) => Some((key, number.to_string().into_bytes())),
            _ => None,
        };
        Self(object.into_iter().filter_map(pair).collect())
    }

    /// The last value of a key.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.0.iter().rfind(|(known, _)| known == key).map(|(_, value)| value.as_slice())
    }

    /// The same as text; empty where there is none.
    pub fn text(&self, key: &str) -> &str {
        self.value(key).and_then(|value| str::from_utf8(value).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_may_be_without_its_key_and_two_commas_are_one() {
        let list = Keyed::parse(b"socket,id=a,path=/x,,y,server", "backend");
        assert_eq!(list.text("backend"), "socket");
        assert_eq!((list.text("id"), list.text("path"), list.text("server")), ("a", "/x,y", "on"));
        assert_eq!((list.value("none"), list.text("none")), (None, ""));
        assert_eq!(Keyed::parse(b"driver=d,x=1,x=2", "driver").text("x"), "2");
    }

    #[test]
    fn an_object_is_the_same() {
        let list = Keyed::parse(br#"{"driver":"vhost-vsock-pci","guest-cid":7,"on":true}"#, "driver");
        assert_eq!(
            (list.text("driver"), list.text("guest-cid"), list.text("on")),
            ("vhost-vsock-pci", "7", "")
        );
    }

    #[test]
    fn what_is_no_list_and_no_object_says_nothing() {
        for text in [b"".as_slice(), b"{", b"{\"a\"", b",", b"=", b"\xff\xff=\xff", b"{}"] {
            assert_eq!(Keyed::parse(text, "x").text("guest-cid"), "");
        }
    }
}
