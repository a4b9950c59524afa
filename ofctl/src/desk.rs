//! Where a command is carried out: the switch on one side, the reader on the other.

use api::{Client, ClientError};

use crate::cli::Options;
use crate::output::Output;

/// What every command needs. The switch is called when it is first asked for.
pub(crate) struct Desk {
    pub(crate) options: Options,
    pub(crate) out: Output,
    /// Whether what was compared differs, which the exit status says.
    pub(crate) differs: bool,
    client: Option<Client>,
}

impl Desk {
    pub(crate) fn new(options: Options) -> Self {
        let out = Output::stdout(options.format, options.color);
        Self { out, options, differs: false, client: None }
    }

    /// The switch and the reader.
    pub(crate) fn open(&mut self) -> Result<(&mut Client, &mut Output), ClientError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.options.socket, self.options.timeout)?,
        };
        Ok((self.client.insert(client), &mut self.out))
    }

    /// The switch, if it has been asked something.
    pub(crate) const fn opened(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }
}
