//! The way to the database: what is said there is handed on as it is, and is where faults happen in a transaction.

use crate::moments::{Moment, contains, named};
use crate::proxy::{Around, Next};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Hands connections on to the database on `port`, and answers the port on which it takes them.
pub async fn open(around: &Arc<Around>, port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let around = Arc::clone(around);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let around = Arc::clone(&around);
            tokio::spawn(async move {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                    // Whatever ends it ends both connections.
                    let _ = Talk { around, run: None, after: None }.go(client, server).await;
                }
            });
        }
    });
    own
}

/// One connection.
struct Talk {
    around: Arc<Around>,
    /// The run that its transaction is for, once it has said so.
    run: Option<String>,
    /// The moment that is there with the next answer.
    after: Option<Moment>,
}

impl Talk {
    async fn go(mut self, mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
        let (mut asked, mut said) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            tokio::select! {
                count = client.read(&mut asked) => {
                    let count = count?;
                    if count == 0 || self.hears(&asked[..count]) {
                        return Ok(());
                    }
                    server.write_all(&asked[..count]).await?;
                }
                count = server.read(&mut said) => {
                    let count = count?;
                    if count == 0 || self.answers().await {
                        return Ok(());
                    }
                    client.write_all(&said[..count]).await?;
                }
            }
        }
    }

    /// Looks at what a worker says; whether the connection is cut before the database hears it.
    fn hears(&mut self, said: &[u8]) -> bool {
        let is_statement = said.first() == Some(&b'Q');
        if is_statement && contains(said, "INSERT INTO \"flowgate_runs\"") && contains(said, "'committed'") {
            self.run = named(&String::from_utf8_lossy(said));
            self.after = Some(Moment::InTransaction);
        }
        if !is_statement || !contains(said, "COMMIT\0") {
            return false;
        }
        self.after = Some(Moment::Committed);
        self.run.as_ref().is_some_and(|run| self.around.dooms(run))
    }

    /// Does what is planned for the moment in which the database has answered; whether its answer is lost.
    async fn answers(&mut self) -> bool {
        let (Some(moment), Some(run)) = (self.after.take(), &self.run) else { return false };
        let Some(worker) = self.around.taker(run) else { return false };
        matches!(self.around.meet(worker, moment, Some(run), None).await, Some(Next::Drop | Next::Answer(_)))
    }
}
