package record

import "testing"

func TestATicketMayComeInAnyNumberOfRecords(t *testing.T) {
	const bodyBytes = 200
	ticket := append([]byte{messageNewSessionTicket, 0, 0, bodyBytes}, make([]byte, bodyBytes)...)
	layer, conn := NewLayer(), &Conn{flags: isClient}
	for i := range maxUseless + 1 {
		for at := range ticket {
			err := layer.messages(conn, ticket[at:at+1])
			if isOver := i == maxUseless && at == len(ticket)-1; (err != nil) != isOver {
				t.Fatalf("byte %d of ticket %d in a record of its own: the error is %v, want one: %t", at, i, err, isOver)
			}
		}
	}
}
