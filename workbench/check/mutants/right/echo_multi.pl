#!/usr/bin/perl
# An echo server with a process for each client: it answers a client's first message, and closes.
#
# Run it:  perl echo_multi.pl PORT
# Bad at:  many clients. Each one needs a process, even while it is silent.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(inet_ntoa sockaddr_in);
use Time::HiRes qw(sleep time);

my $MAX_MSG_LEN = 16 * 1024;    # bytes, without the zero byte
my $LINGER      = 0.5;          # seconds for which the server still reads before a close

my $stopping = 0;
my %children;                   # the child processes that serve a client now

main(@ARGV);

sub main {
    my ($port) = @_;
    my $listener = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $port,
        ReuseAddr => 1,
        Listen    => 1024,
        Blocking  => 0,
    ) or die "cannot listen: $@\n";
    $SIG{INT} = $SIG{TERM} = sub { $stopping = 1 };
    $SIG{CHLD} = sub { };       # only interrupts the wait for clients
    $SIG{PIPE} = 'IGNORE';
    serve($listener);
    close $listener;
    kill 'KILL', keys %children;
    wait_for_children(0);
}

sub serve {
    my ($listener) = @_;
    my $waiter = IO::Select->new($listener);
    until ($stopping) {
        wait_for_children(POSIX::WNOHANG);
        # A signal that arrives just before the wait is noticed after it: so the wait has a limit.
        next unless $waiter->can_read(1);
        my ($sock, $peer) = $listener->accept;
        if (!$sock) {
            sleep 0.05 unless $!{EAGAIN};    # it is already broken, or no descriptors are left
            next;
        }
        my $pid = fork;
        if (!defined $pid) {
            sleep 0.05;                      # the system cannot start another process
        } elsif ($pid == 0) {
            $SIG{$_} = 'DEFAULT' for qw(INT TERM CHLD);
            close $listener;
            eval { handle_client($sock, $peer) };
            POSIX::_exit(0);
        } else {
            $children{$pid} = 1;
        }
        close $sock;
    }
}

# A child that has ended stays in the process table until its parent collects its exit status.
sub wait_for_children {
    my ($flags) = @_;
    while (%children) {
        my $pid = waitpid -1, $flags;
        last if $pid <= 0;
        delete $children{$pid};
    }
}

sub handle_client {
    my ($sock, $peer) = @_;
    $sock->blocking(1);
    my $msg = recv_msg($sock);
    if (defined $msg) {
        my ($port, $host) = sockaddr_in($peer);
        send_all($sock, inet_ntoa($host) . ":$port: $msg\0");
    }
    close_gently($sock);
}

# Returns the client's first message, or nothing if it leaves before the message is complete.
sub recv_msg {
    my ($sock) = @_;
    my $rest = '';
    while (1) {
        sysread($sock, $rest, 4096, length $rest) or return;
        $rest =~ s/^\0+//;
        my $len = index $rest, "\0";
        die "the message is too long\n" if ($len < 0 ? length $rest : $len) > $MAX_MSG_LEN;
        next if $len < 0;
        my $msg = substr $rest, 0, $len;
        die "the message is not UTF-8\n" unless is_utf8($msg);
        return $msg;
    }
}

# Perl accepts more sequences as UTF-8 than Unicode allows.
sub is_utf8 {
    my ($text) = @_;
    return utf8::decode($text) && $text !~ /[\x{D800}-\x{DFFF}]|[^\x{0}-\x{10FFFF}]/;
}

sub send_all {
    my ($sock, $data) = @_;
    while (length $data) {
        my $sent = syswrite $sock, $data or die "send: $!\n";
        substr $data, 0, $sent, '';
    }
}

# Shuts down the sending side, and reads for a moment longer: a close with bytes unread would send a
# reset, and the answer may be lost.
sub close_gently {
    my ($sock) = @_;
    shutdown $sock, 1;
    my $deadline = time + $LINGER;
    my $waiter   = IO::Select->new($sock);
    while (time < $deadline && $waiter->can_read($LINGER)) {
        sysread($sock, my $thrown_away, 65536) or last;
    }
}
