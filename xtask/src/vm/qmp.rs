//! QEMU's machine protocol (qmp-spec): one JSON object a line, over the Unix socket that QEMU listens on.
//!
//! Events that arrive while something else is awaited are kept until somebody asks for them.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long an answer may take; the commands that take long answer at once and tell the rest by events.
const ANSWER: Duration = Duration::from_secs(10);

/// A conversation with one QEMU.
pub struct Qmp {
    stream: BufReader<UnixStream>,
    events: Vec<Value>,
    /// The line that has not come to its end.
    partial: Vec<u8>,
}

impl Qmp {
    /// Connects to QEMU's socket and makes it take commands.
    ///
    /// # Errors
    /// Nobody listens there, or who does is not QEMU.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("cannot reach QEMU's monitor")?;
        let mut qmp = Self { stream: BufReader::new(stream), events: Vec::new(), partial: Vec::new() };
        let greeting = qmp.message(Instant::now() + ANSWER)?;
        if greeting.get("QMP").is_none() {
            bail!("that is not QEMU: {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Has a command executed, and gives what it returns.
    ///
    /// # Errors
    /// QEMU refuses it, in its own words, or does not answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.stream
            .get_mut()
            .write_all(line.as_bytes())
            .with_context(|| format!("{command}: QEMU is gone"))?;
        let deadline = Instant::now() + ANSWER;
        loop {
            let mut message = self.message(deadline).with_context(|| command.to_owned())?;
            if message.get("event").is_some() {
                self.events.push(message);
            } else if let Some(error) = message.get("error") {
                bail!("{command}: {}", error.get("desc").unwrap_or(error));
            } else {
                return Ok(message.get_mut("return").map(Value::take).unwrap_or_default());
            }
        }
    }

    /// Waits for an event of this name for which `wanted` holds. Events before it are forgotten.
    ///
    /// # Errors
    /// It does not happen in time.
    pub fn event(
        &mut self,
        name: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let event = match self.events.is_empty() {
                false => self.events.remove(0),
                true => self.message(deadline).with_context(|| format!("waiting for {name}"))?,
            };
            let data = event.get("data").unwrap_or(&Value::Null);
            if event.get("event").is_some_and(|event| event == name) && wanted(data) {
                return Ok(event);
            }
        }
    }

    /// One line, as JSON.
    fn message(&mut self, deadline: Instant) -> Result<Value> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("QEMU does not answer");
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            match self.stream.read_until(b'\n', &mut self.partial) {
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.partial);
                    return serde_json::from_slice(&line).context("QEMU said something that is not JSON");
                }
                Ok(_) => bail!("QEMU has ended"),
                // What has come so far is in `partial`.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("QEMU's monitor"),
            }
        }
    }
}

/// The commands that guests need.
impl Qmp {
    /// Ends QEMU, as if the power were cut.
    ///
    /// # Errors
    /// As [`Qmp::execute`]; so do all of these.
    pub fn quit(&mut self) -> Result<()> {
        self.execute("quit", json!({})).map(drop)
    }

    /// Stops the guest's processors.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn stop(&mut self) -> Result<()> {
        self.execute("stop", json!({})).map(drop)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn cont(&mut self) -> Result<()> {
        self.execute("cont", json!({})).map(drop)
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn system_powerdown(&mut self) -> Result<()> {
        self.execute("system_powerdown", json!({})).map(drop)
    }

    /// Presses keys together; QEMU's names for them, as `ctrl`, `alt`, `delete`.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn send_keys(&mut self, keys: &[&str]) -> Result<()> {
        let keys: Vec<Value> = keys.iter().map(|key| json!({ "type": "qcode", "data": key })).collect();
        self.execute("send-key", json!({ "keys": keys })).map(drop)
    }

    /// Plugs a device in; `properties` name its `driver` and `id`.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn device_add(&mut self, properties: Value) -> Result<()> {
        self.execute("device_add", properties).map(drop)
    }

    /// Unplugs a device, and waits until the guest has let go of it.
    ///
    /// # Errors
    /// As [`Qmp::execute`], or the guest holds on to it.
    pub fn device_del(&mut self, id: &str, patience: Duration) -> Result<()> {
        self.execute("device_del", json!({ "id": id }))?;
        self.event("DEVICE_DELETED", patience, |data| data.get("device").is_some_and(|device| device == id))
            .map(drop)
    }

    /// Writes the machine's state to a file and waits until all of it is there.
    ///
    /// # Errors
    /// As [`Qmp::execute`], or a device cannot be saved.
    pub fn migrate_to(&mut self, file: &Path, patience: Duration) -> Result<()> {
        // The shell that QEMU runs gets a name of ours, which holds nothing but letters, digits, dots and dashes.
        self.execute("migrate", json!({ "uri": format!("exec:cat > '{}'", file.display()) }))?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let state = self.execute("query-migrate", json!({}))?;
            match state.get("status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => bail!("the snapshot failed: {state}"),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        bail!("the snapshot was not complete in {} s", patience.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;
    use crate::scratch::Scratch;

    /// QEMU's part: what it says at first, then one list of lines for each command.
    fn qemu(answers: &'static [&'static str], check: impl FnOnce(Qmp)) {
        let scratch = Scratch::new(&std::env::temp_dir(), "qmp").unwrap();
        let socket = scratch.path("qmp.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            (&stream).write_all(b"{\"QMP\": {}}\n").unwrap();
            let mut lines = BufReader::new(&stream).lines();
            for answer in ["{\"return\": {}}\n"].iter().chain(answers) {
                lines.next().unwrap().unwrap();
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
        });
        check(Qmp::connect(&socket).unwrap());
        server.join().unwrap();
    }

    #[test]
    fn events_before_an_answer_are_kept_and_an_error_is_told() {
        let answers = &[
            "{\"event\": \"STOP\"}\n{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"x\"}}\n{\"return\": 3}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such device\"}}\n",
        ];
        qemu(answers, |mut qmp| {
            assert_eq!(qmp.execute("anything", json!({})).unwrap(), json!(3));
            let is_x = |data: &Value| data["device"] == "x";
            qmp.event("DEVICE_DELETED", Duration::from_secs(5), is_x).unwrap();
            let error = qmp.execute("device_del", json!({})).unwrap_err();
            assert!(error.to_string().contains("no such device"), "{error}");
        });
    }

    #[test]
    fn a_qemu_that_ends_is_told() {
        qemu(&[""], |mut qmp| {
            let error = qmp.quit().unwrap_err();
            assert!(format!("{error:#}").contains("has ended"), "{error:#}");
        });
    }
}
