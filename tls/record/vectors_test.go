package record

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"io"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A vector is a direction of a published connection, from its application traffic secret on.
type vector struct {
	name       string
	suite      uint16
	fromServer bool
	secret     string
	key, iv    string
	records    []vectorRecord
}

type vectorRecord struct {
	contentType byte
	content     string
	record      string
}

// rfc8448Data is the application data of both ends in RFC 8448.
const rfc8448Data = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031"

var vectors = []vector{
	{
		name: "RFC 8448 section 3, client", suite: tls.TLS_AES_128_GCM_SHA256,
		secret: "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
		key:    "17422dda596ed5d9acd890e3c63f5051", iv: "5b78923dee08579033e523d9",
		records: []vectorRecord{
			{typeApplicationData, rfc8448Data, "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b" +
				"62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"},
			{typeAlert, "0100", "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"},
		},
	},
	{
		name: "RFC 8448 section 3, server", suite: tls.TLS_AES_128_GCM_SHA256, fromServer: true,
		secret: "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
		key:    "9f02283b6c9c07efc26bb9f2ac92e356", iv: "cf782b88dd83549aadf1e984",
		records: []vectorRecord{
			{typeHandshake, "040000c90000001efad6aac502000000b22c035d829359ee5ff7af4ec900000000262a6494dc486d2c8a34cb33fa90bf1b0070ad3c498883" +
				"c9367c09a2be785abc55cd226097a3a982117283f82a03a143efd3ff5dd36d64e861be7fd61d2827db279cce145077d454a3664d4e6da4d29ee03725a6a4dafc" +
				"d0fc67d2aea70529513e3da2677fa5906c5b3f7d8f92f228bda40dda721470f9fbf297b5aea617646fac5c03272e970727c621a79141ef5f7de6505e5bfbc388" +
				"e93343694093934ae4d3570008002a000400000400",
				"17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db289a015940252f55713e061dc13e078891a3" +
					"8efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e09c30ba1e62972ac46f75f7b981be63439b2999ce13064615139891d5e4c5b406" +
					"f16e3fc181a77ca475840025db2f0a77f81b5ab05b94c01346755f69232c86519d86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74" +
					"bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779b37bf15985684f"},
			{typeApplicationData, rfc8448Data, "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8" +
				"fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d"},
			{typeAlert, "0100", "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"},
		},
	},
	{
		name: "RFC 8448 section 4, client", suite: tls.TLS_AES_128_GCM_SHA256,
		secret: "2abbf2b8e381d23dbebe1dd2a7d16a8bf484cb4950d23fb7fb7fa8547062d9a1",
		key:    "3cf122f301c6358ca7989553250efd72", iv: "ab1aec26aa78b8fc1176b9ac",
		records: []vectorRecord{
			{typeApplicationData, rfc8448Data, "1703030043b1cebce242aa201be9ae5e1cb2a9aa4b33d4e866af1edb068919237741aa031d7a74d491c99b9d4e232b74" +
				"206bc6fbaa04fe78be44a9b4f54320a17eb76992afac3103"},
			{typeAlert, "0100", "17030300130facce3246bdfc6369838d6a82ae6de5d422dc"},
		},
	},
	{
		name: "RFC 8448 section 4, server", suite: tls.TLS_AES_128_GCM_SHA256, fromServer: true,
		secret: "cc21f1bf8feb7dd5fa505bd9c4b468a9984d554a993dc49e6d285598fb672691",
		key:    "e857c690a34c5a9129d833619684f95e", iv: "0685d6b561aab9ef1013faf9",
		records: []vectorRecord{
			{typeApplicationData, rfc8448Data, "1703030043275e9f20acff57bc000657d3867df039cccf79047884cf75771746f740b5a83f462a0954c3581393a203a2" +
				"5a7dd14141ef1a37900cdb62ff62dee1ba39ab2590cbf194"},
			{typeAlert, "0100", "17030300135b18af444e8e1eec7158fb62d8f2577d37ba5d"},
		},
	},
	{
		name: "The Illustrated TLS 1.3 Connection, client", suite: tls.TLS_AES_256_GCM_SHA384,
		secret: "9e47af27cb60d818a9ea7d233cb5ed4cc525fcd74614fb24b0ee59acb8e5aa7ff8d88b89792114208fec291a6fa96bad",
		key:    "de2f4c7672723a692319873e5c227606691a32d1c59d8b9f51dbb9352e9ca9cc", iv: "bb007956f474b25de902432f",
		records: []vectorRecord{{typeApplicationData, "70696e67", "1703030015828139cb7b73aaabf5b82fbf9a2961bcde10038a32"}},
	},
	{
		name: "The Illustrated TLS 1.3 Connection, server", suite: tls.TLS_AES_256_GCM_SHA384, fromServer: true,
		secret: "86c967fd7747a36a0685b4ed8d0e6b4c02b4ddaf3cd294aa44e9f6b0183bf911e89a189ba5dfd71fccffb5cc164901f8",
		key:    "01f78623f17e3edcc09e944027ba3218d57c8e0db93cd3ac419309274700ac27", iv: "196a750b0c5049c0cc51a541",
		records: []vectorRecord{
			{typeHandshake, "040000d500001c200000000008000000000000000000c04142434445464748494a4b4c4d4e4f0049564441544149564441544100414553cb119d4dbd2a21ecc2" +
				"26a6090ee8ca58df09039b3596f4de79980ea325d514625c0c21c50f03261dc42ce7c5970c4c01ea331cffc89966ef548be4df9a8ba4385beb8680fd0b78dfb8" +
				"e98efc8fccd814fecd1d9bce89ca05dc28c249e5bd61d03a568f9a0a46fbfd05302db6b2f7a313e33267bf0bcbdcecfb04a4d82f5a69451f567ab5199bb26c5c" +
				"f20072f0450373028fe071d4f41d8f61ae024d69bbae4c0000",
				"17030300ea382d8c19a47f4e8d9b0c510bc348db2cc99b241cd0d18b31d0ca1ac12dc1e303c58d0c7e9e27294c6b0e3198f7d319eb14622ec48b6ac8f866d749" +
					"4fa775c880ff43ad4b1af53a03ca197795778fff2ffe1d3b99b34de782a76abfa840e6366cd7349d9bcff641f5e0dff95e40d72e09effe18ee64672cb9600540" +
					"4488ad1896c44a5fd174998e9b0094d8e6d84d2929b7883dc9a3c3c7313a87293f31b61d24d99097c8853bfbeb95d1d01f99ca05b0501859cf6340e837707597" +
					"0152fa94f5f5be2906e72a15e40836a41f4cd3dbe7d513c16e88611d3eae9338d9db1f91ca3d5842602a610b43a463"},
			{typeHandshake, "040000d500001c200000000008000000000000000100c04142434445464748494a4b4c4d4e4f0049564441544149564441544100414553cb119d4dbd2a21ecc2" +
				"26a6090ee8ca58df09039b3596f4de79980ea325d514625c0c21c50f03261dc42ce7c5970c4c011606fb998a86c3fa30e55eea91f1fff318fc7bd58831bf49c8" +
				"8d7b590591a65c7de8cfc677468a54fdbec0d853be2021c8bbfcdbe51f5d9a0c7085841a01e49585f68b4afee1d707e2cbb1a0b423aa7e32d5607bd99dd4db3c" +
				"9aaaed43d35d26b4b1c6847171eaa07a9bc8cbf758499a0000",
				"17030300ea38adfb1d01fd95a60385e8bbf1fd8dcb46709897e7d674c2f7370ec11d8e33eb4f4fe7f54bf4dc0b92fae7421c33c6453cebc073159610a09740ab" +
					"2d056f8d51cfa262007d401236dafc2f7292ff0cc886a4ef389f2ced1226c6b4dcf69d994ff9148ef969bc77d9433ab1d3a932542182829f889ad95f04c752f9" +
					"4ace57146a5d84b042bfb3485a64e7e957b08980cd08baf9698b8929986d1174d4aa6dd7a7e8c086052c3c76d81934bdf59b966e392031f3471adebddddbe84f" +
					"cf1ff408846ae9b28ca4a9e728844a493d80455d6eaff205b40a1ef18574efc0b96ad383afbd8dfc86f8087c1f7dc8"},
			{typeApplicationData, "706f6e67", "17030300150cda85f1447ae23fa66d56f4c5408482b1b1d4c998"},
		},
	},
}

func TestPublishedSecretsGiveThePublishedKeys(t *testing.T) {
	for _, v := range vectors {
		var h half
		s := suiteOf(v.suite)
		h.setSecret(s, unhex(t, v.secret))
		if key := h.key[:suites[s].keyBytes]; !bytes.Equal(key, unhex(t, v.key)) || !bytes.Equal(h.iv[:], unhex(t, v.iv)) {
			t.Errorf("%s: key %x, IV %x; want %s, %s", v.name, key, h.iv, v.key, v.iv)
		}
	}
}

func TestPublishedRecordsAreSealedByteByByte(t *testing.T) {
	for _, v := range vectors {
		l := NewLayer()
		c := Conn{suite: suiteOf(v.suite)}
		c.out.setSecret(c.suite, unhex(t, v.secret))
		for i, r := range v.records {
			content := unhex(t, r.content)
			var got []byte
			switch r.contentType {
			case typeApplicationData:
				got = l.Seal(&c, nil, [][]byte{content})
			case typeAlert:
				got = l.Alert(&c, nil, Alert(content[1]))
			case typeHandshake: // a ticket, which no Layer sends
				got = l.seal(&c, append(append(appendHeader(nil, len(content)), content...), typeHandshake), 0)
			}
			if !bytes.Equal(got, unhex(t, r.record)) {
				t.Errorf("%s, record %d: sealed as %x, want %s", v.name, i, got, r.record)
			}
		}
	}
}

func TestPublishedRecordsAreOpened(t *testing.T) {
	for _, v := range vectors {
		var c Conn
		var records, want []byte
		var wantErr error
		for _, r := range v.records {
			records = append(records, unhex(t, r.record)...)
			switch r.contentType {
			case typeApplicationData:
				want = append(want, unhex(t, r.content)...)
			case typeAlert:
				wantErr = io.EOF
			}
		}
		for _, open := range []func(testing.TB, *Conn, []byte) result{openWhole, openBytewise} {
			c = Conn{suite: suiteOf(v.suite)}
			if c.in.setSecret(c.suite, unhex(t, v.secret)); v.fromServer {
				c.flags = isClient
			}
			if got := open(t, &c, records); got.content != string(want) || got.err != wantErr {
				t.Errorf("%s: opened as %x, %v; want %x, %v", v.name, got.content, got.err, want, wantErr)
			}
		}
	}
}

// RFC 9001 appendix A.5 is the published example of ChaCha20-Poly1305 with the key schedule of TLS 1.3. Its labels begin with "quic".
func TestChaCha20DerivesAndSealsAsInRFC9001(t *testing.T) {
	s := suiteOf(tls.TLS_CHACHA20_POLY1305_SHA256)
	var h half
	h.setSecret(s, unhex(t, "9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b"))
	var next [32]byte
	h.expand(s, next[:], "quic ku")
	h.expand(s, h.key[:], "quic key")
	h.expand(s, h.iv[:], "quic iv")
	h.seq = 654360564
	l := NewLayer()
	sealed := l.aead(s, &h).Seal(nil, l.setNonce(&h), []byte{1}, unhex(t, "4200bff4"))
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"key", h.key[:], "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8"},
		{"IV", h.iv[:], "e0459b3474bdd0e44a41c144"},
		{"next secret", next[:], "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9"},
		{"nonce", l.nonce[:], "e0459b3474bdd0e46d417eb0"},
		{"ciphertext", sealed, "655e5cd55c41f69080575d7999c25a5bfb"},
	} {
		if !bytes.Equal(test.got, unhex(t, test.want)) {
			t.Errorf("%s: %x, want %s", test.name, test.got, test.want)
		}
	}
}

func TestKeysAreDerivedAsByTheTextOfTheRFC(t *testing.T) {
	for _, id := range suiteIDs {
		c, in, out := newConn(id, false)
		for range 3 {
			for _, end := range []struct {
				h *half
				p *peer
			}{{&c.in, in}, {&c.out, out}} {
				if n := suites[c.suite].hashBytes; !bytes.Equal(end.h.secret[:n], end.p.secret) || !bytes.Equal(end.h.iv[:], end.p.iv) {
					t.Errorf("%s: secret %x, IV %x; want %x, %x", tls.CipherSuiteName(id), end.h.secret[:n], end.h.iv, end.p.secret, end.p.iv)
				}
				end.h.update(c.suite)
				end.p.update()
			}
		}
	}
}
