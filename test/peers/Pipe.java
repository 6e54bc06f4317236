// One end of a TLS 1.3 connection, made of Java's JSSE: what arrives goes to stdout, and what stdin has is sent. How often it changes its keys
// (KeyUpdate), and asks its peer for the same, is the security property jdk.tls.keyLimits.
//
//	java Pipe connect SUITE PORT AUTHORITY
//	java Pipe accept SUITE CERTIFICATE KEY
//
// As openssl s_server does, accept writes to stdout a line with its address at first, and a line "DONE" after what the connection has sent, if
// there was a close_notify.

import java.io.*;
import java.net.InetAddress;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.*;

public class Pipe {
  static final char[] PASSWORD = {}; // of a store in memory

  public static void main(String[] args) throws Exception {
    boolean isClient = args[0].equals("connect");
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, PASSWORD);
    try (InputStream file = Files.newInputStream(Path.of(args[isClient ? 3 : 2]))) {
      java.security.cert.Certificate certificate = CertificateFactory.getInstance("X.509").generateCertificate(file);
      if (isClient) store.setCertificateEntry("authority", certificate);
      else store.setKeyEntry("site", readKey(args[3]), PASSWORD, new java.security.cert.Certificate[] {certificate});
    }
    KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
    keys.init(store, PASSWORD);
    TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
    if (isClient) trust.init(store);
    SSLContext context = SSLContext.getInstance("TLSv1.3");
    context.init(keys.getKeyManagers(), isClient ? trust.getTrustManagers() : null, null);
    if (isClient) {
      pass((SSLSocket) context.getSocketFactory().createSocket("localhost", Integer.parseInt(args[2])), args[1]);
    } else {
      SSLServerSocket listener = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0, 16, InetAddress.getLoopbackAddress());
      System.out.println("ACCEPT 127.0.0.1:" + listener.getLocalPort());
      pass((SSLSocket) listener.accept(), args[1]);
      System.out.println("DONE");
    }
  }

  static PrivateKey readKey(String path) throws Exception {
    String text = Files.readString(Path.of(path)).replaceAll("-----.*-----|\\s", "");
    return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(text)));
  }

  // pass passes bytes until the peer's close_notify.
  static void pass(SSLSocket socket, String suite) throws Exception {
    socket.setEnabledCipherSuites(new String[] {suite});
    socket.startHandshake();
    Thread sender = new Thread(() -> {
      try {
        System.in.transferTo(socket.getOutputStream());
      } catch (IOException e) {
        // the connection has ended
      }
    });
    sender.setDaemon(true); // stdin may be open at the end
    sender.start();
    socket.getInputStream().transferTo(new FileOutputStream(FileDescriptor.out));
    socket.close();
  }
}
