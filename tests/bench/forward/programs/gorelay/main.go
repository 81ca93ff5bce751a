// A relay as Go services write it for speed: SO_REUSEPORT sockets, goroutines locked to threads,
// buffers allocated once, netip addresses (no allocation per packet), the same SPP header.
package main

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
)

const (
	header    = 38
	reusePort = 15
	sendForce = 32
	recvForce = 33
)

type flow struct {
	nextHop        netip.AddrPort
	packets, bytes uint64
}

var (
	lock  sync.RWMutex
	flows = make(map[netip.AddrPort]*flow, 1<<17)
)

func listen(address string) *net.UDPConn {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePort, 1)
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, recvForce, 8<<20)
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, sendForce, 8<<20)
		})
	}}
	conn, err := config.ListenPacket(context.Background(), "udp4", address)
	if err != nil {
		panic(err)
	}
	return conn.(*net.UDPConn)
}

func find(client, backend netip.AddrPort) *flow {
	lock.RLock()
	known := flows[client]
	lock.RUnlock()
	if known == nil {
		known = &flow{nextHop: backend}
		lock.Lock()
		flows[client] = known
		lock.Unlock()
	}
	return known
}

func toBackend(public, internal *net.UDPConn, backend, proxy netip.AddrPort) {
	runtime.LockOSThread()
	buffer := make([]byte, 2048)
	mapped := proxy.Addr().As16()
	for {
		n, client, err := public.ReadFromUDPAddrPort(buffer[header:])
		if err != nil {
			continue
		}
		known := find(client, backend)
		known.packets++
		known.bytes += uint64(n)
		ip := netip.AddrFrom16(client.Addr().As16()).As16()
		buffer[0], buffer[1] = 0x56, 0xEC
		copy(buffer[2:18], ip[:])
		copy(buffer[18:34], mapped[:])
		binary.BigEndian.PutUint16(buffer[34:], client.Port())
		binary.BigEndian.PutUint16(buffer[36:], proxy.Port())
		internal.WriteToUDPAddrPort(buffer[:header+n], known.nextHop)
	}
}

func toClients(public, internal *net.UDPConn) {
	runtime.LockOSThread()
	buffer := make([]byte, 2048)
	for {
		n, _, err := internal.ReadFromUDPAddrPort(buffer)
		if err != nil || n < header {
			continue
		}
		ip := netip.AddrFrom16([16]byte(buffer[2:18])).Unmap()
		client := netip.AddrPortFrom(ip, binary.BigEndian.Uint16(buffer[34:]))
		public.WriteToUDPAddrPort(buffer[header:n], client)
	}
}

func main() {
	debug.SetGCPercent(800) // the hot path allocates nothing; the table is the heap
	workers := 1
	if len(os.Args) > 1 {
		workers, _ = strconv.Atoi(os.Args[1])
	}
	backend := netip.MustParseAddrPort("10.2.0.2:5000")
	proxy := netip.MustParseAddrPort("10.2.0.1:3479")
	for range make([]struct{}, workers) {
		public, internal := listen("10.1.0.1:3478"), listen("10.2.0.1:3479")
		go toBackend(public, internal, backend, proxy)
		go toClients(public, internal)
	}
	select {}
}
