package nodeurl

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parse is url.Parse for URLs that may hold a password. Parts of one that is
// badly escaped can end up in any part of the URL, so errors quote nothing of it
// until it is certain where the password ends.
func parse(rawURL string) (*url.URL, error) {
	name, rest, ok := strings.Cut(rawURL, "://")
	if !ok || !isSchemeName(name) {
		return nil, errors.New("not a URL of a node: known are " + knownForms())
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if strings.Contains(tail, "@") {
		return nil, errors.New("an '@' after a '/', '?' or '#': in a user name or password write these as %40, %2F, %3F and %23, and elsewhere an '@' as %40")
	}
	if strings.Contains(tail, "#") {
		return nil, errors.New("a '#': write it as %23")
	}
	u, err := parseHosts(name, authority, tail)
	if err != nil {
		return nil, errors.New("it cannot be parsed: " + reason(err, authority))
	}
	return u, nil
}

// reason says what is wrong with a URL without quoting it.
func reason(err error, authority string) string {
	var escape url.EscapeError
	switch {
	case errors.As(err, &escape):
		return "a '%' is not followed by two hexadecimal digits; write a '%' itself as %25"
	case strings.Contains(err.Error(), "invalid userinfo"):
		return "the user name or password has a character that must be written as '%' and two hexadecimal digits"
	case strings.Contains(err.Error(), "control character"):
		return "it has a control character"
	case strings.Contains(err.Error(), "invalid port"):
		if !strings.Contains(authority, "@") {
			return "what follows the ':' is no port; a password must be followed by '@' and the host"
		}
		return "the port is not a number"
	}
	return "the host is not valid"
}

// isSchemeName keeps a password out of errors about an unknown scheme, which
// quote it: a scheme is letters, digits, '+', '-' and '.'.
func isSchemeName(s string) bool {
	valid := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("+-.", r)
	}
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !valid(r) })
}

// oneServer makes an address of HOST[:PORT]. What is wrong is not quoted: it may be
// a part of a password.
func oneServer(server, defaultPort, form string) (string, error) {
	u := url.URL{Host: server}
	port := orElse(u.Port(), defaultPort)
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case strings.Contains(server, ","):
		return "", fmt.Errorf("it has several hosts, but is of one server: write %s, a URL for each (only zk takes several in one)", form)
	case server != "" && server[0] != '[' && strings.Count(server, ":") > 1:
		return "", fmt.Errorf("its host has more than one ':': put an IPv6 address in brackets, as in [::1]:%s", defaultPort)
	case u.Hostname() == "":
		return "", fmt.Errorf("it has no host, or an empty one: write %s", form)
	case err != nil || n == 0:
		return "", errors.New("the port is not between 1 and 65535")
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// params are the parameters a URL may have, each with what takes its value.
type params map[string]func(value string) error

// apply hands the parameters of a query to their takers. Each may come once.
func (p params) apply(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the parameters cannot be parsed: separate them by '&', and write '%' as %25 and ';' as %3B")
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names) // one error of several is always the same
	for _, name := range names {
		take, ok := p[name]
		if !ok {
			return fmt.Errorf("unknown parameter %q: %s", name, p.allowed())
		}
		if len(values[name]) > 1 {
			return fmt.Errorf("parameter %q is given %d times", name, len(values[name]))
		}
		if err := take(values[name][0]); err != nil {
			return fmt.Errorf("parameter %q: %w", name, err)
		}
	}
	return nil
}

func (p params) allowed() string {
	if len(p) == 0 {
		return "none are allowed here"
	}
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	slices.Sort(names)
	return "allowed are " + strings.Join(names, ", ")
}

// boolean is a parameter that is true or false.
func boolean(to *bool) func(string) error {
	return func(value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		*to = b
		return nil
	}
}

// text is a parameter that is any text but none.
func text(to *string) func(string) error {
	return func(value string) error {
		if value == "" {
			return errors.New("it has no value")
		}
		*to = value
		return nil
	}
}

// number is a parameter that counts from 0.
func number(to *int) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return fmt.Errorf("%q is not a number from 0", value)
		}
		*to = int(n)
		return nil
	}
}

func orElse(value, fallback string) string {
	if value != "" {
		return value
	}
	return fallback
}
