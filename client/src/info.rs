//! Owns what an agent tells of itself and its guest: the lines of `info` (`docs/PROTOCOL.md`, R-9.10).

use serde_json::{Map, Value};
use vsock_shell_proto::fields::tag;
use vsock_shell_proto::frame::ChannelKind;

use crate::client::Client;
use crate::command::Streams;
use crate::drive::drive;
use crate::error::Error;
use crate::request::Request;
use crate::run::{Input, Run};
use crate::text::escape;

/// What the agent told: keys and values, in its order, escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info(Vec<(String, String)>);

impl Client {
    /// Asks the agent what it and its guest are.
    ///
    /// # Errors
    /// The agent refused, or the connection was lost.
    pub fn info(&mut self) -> Result<Info, Error> {
        let mut request = Request::default();
        request.string(tag::VERB, &["info".as_ref()])?;
        let streams = Streams::keeping(Input::nothing());
        let core = &mut self.connection.core;
        let mut run = Run::new(core, ChannelKind::System, request.into_bytes(), streams, None)?;
        let driven = drive(&mut self.connection, &mut run);
        let ended = run.finish(&mut self.connection.core, driven)?;
        Ok(Info::parse(ended.output.bytes()))
    }
}

impl Info {
    pub(crate) fn parse(lines: &[u8]) -> Self {
        let pair = |line: &[u8]| {
            let line = escape(line).into_owned();
            line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
        };
        Self(lines.split(|&byte| byte == b'\n').filter_map(pair).collect())
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Lines for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let width = self.0.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        self.0.iter().map(|(key, value)| format!("{key:width$}  {value}\n")).collect()
    }

    /// One object; numbers are numbers.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let value = |value: &String| value.parse::<u64>().map_or_else(|_| value.clone().into(), Value::from);
        Value::Object(self.0.iter().map(|(key, text)| (key.clone(), value(text))).collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_text_and_an_object() {
        let info = Info::parse(b"agent=x 1\nuptime_seconds=12\nname=a=\x1b[0m\nno pair\n");
        assert_eq!(info.to_text(), "agent           x 1\nuptime_seconds  12\nname            a=\\x1b[0m\n");
        assert_eq!(info.to_value()["uptime_seconds"], 12);
        assert_eq!(info.to_value()["name"], "a=\\x1b[0m");
    }
}
